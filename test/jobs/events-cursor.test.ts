import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { artifactId, entryId, parseEventId } from '../../src/jobs/events-cursor.ts';

const position = fc.integer({ min: 1, max: 10 ** 15 - 1 });
const offset = fc.option(fc.integer({ min: 0, max: 10 ** 15 - 1 }));

describe('the id of an event', () => {
  it('says that an entry was told, and how much of the log', () => {
    fc.assert(
      fc.property(position, offset, (at, log) => {
        assert.deepEqual(parseEventId(entryId(at, log)), { after: at, logOffset: log ?? 0, artifacts: 0 });
      }),
    );
  });

  it('says how many of an entry’s artifacts were told, and that the entry was not', () => {
    fc.assert(
      fc.property(position, offset, fc.integer({ min: 1, max: 10 ** 9 - 1 }), (at, log, count) => {
        assert.deepEqual(parseEventId(artifactId(at, log, count)), {
          after: at - 1,
          logOffset: log ?? 0,
          artifacts: count,
        });
      }),
    );
  });

  it('is never anything else', () => {
    const near = fc.stringMatching(/^[0-9.+e -]{0,40}$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), near), (text) => {
        const cursor = parseEventId(text);
        if (cursor === null) return;
        assert.match(text, /^\d+(\.\d+){0,2}$/);
        for (const value of Object.values(cursor)) assert.ok(Number.isSafeInteger(value) && value >= 0, text);
      }),
      { numRuns: 2_000 },
    );
  });
});
