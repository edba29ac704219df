import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { EVENTS } from '../../src/jobs/events.ts';

describe('the events of the journal', () => {
  it('are all in the documentation, with their meaning, and no others', () => {
    const page = readFileSync(new URL('../../docs/journal.md', import.meta.url), 'utf8');
    const documented = [...page.matchAll(/^\| `(\w+)` \| (.*?) \|/gm)].map(([, type, meaning]) => [
      type,
      meaning,
    ]);
    assert.deepEqual(documented, Object.entries(EVENTS));
  });
});
