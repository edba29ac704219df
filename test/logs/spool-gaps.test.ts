import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { gapAt, type SpoolGap } from '../../src/logs/spool-gaps.ts';

const gap = (from: number, to: number): SpoolGap => ({ from, to, entries: 1, lines: 1, bytes: to - from });

describe('what is left out of a spool', () => {
  const gaps = [gap(10, 20), gap(20, 30), gap(50, 60)];

  it('is one where nothing lies between', () => {
    assert.deepEqual(gapAt(gaps, 10), { from: 10, to: 30, entries: 2, lines: 2, bytes: 20 });
    assert.deepEqual(gapAt(gaps, 50), gap(50, 60));
    for (const offset of [0, 30, 40, 60]) assert.equal(gapAt(gaps, offset), null);
  });

  it('counts from where a reader stands: what it has taken already is not counted again', () => {
    assert.deepEqual(gapAt(gaps, 20), gap(20, 30));
    assert.deepEqual(gapAt(gaps, 15), { from: 10, to: 30, entries: 1, lines: 1, bytes: 10 });
    assert.deepEqual(gapAt(gaps, 25), { from: 20, to: 30, entries: 0, lines: 0, bytes: 0 });
  });
});
