import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { type Counters, NO_COUNTERS } from '../../src/containers/podman/cgroups/cgroups.ts';
import {
  type Evidence,
  NO_EVIDENCE,
  mergeCounters,
  parseEvidence,
  verdictOf,
} from '../../src/containers/podman/sandbox/evidence.ts';

const REQUEST = { name: 'n', diskBytes: 1, cpus: 1, memoryBytes: 1000, pidsLimit: 10 };
const evidence = (counters: Partial<Counters>, rest: Partial<Evidence> = {}): Evidence => ({
  ...NO_EVIDENCE,
  ...rest,
  counters: { ...NO_COUNTERS, ...counters },
});
const oomKilled = (...args: Parameters<typeof evidence>) => verdictOf(evidence(...args), REQUEST).oomKilled;

describe('a verdict', () => {
  it('believes the kernel’s count of kills above all', () => {
    assert.equal(oomKilled({ oomKills: 1 }, { exitCode: 0 }), true);
    assert.equal(oomKilled({ oomKills: 0, memoryPeakBytes: 1000 }, { exitCode: 137 }), false);
  });

  it('concludes from 137 at the limit where the count is gone, unless we killed it', () => {
    assert.equal(oomKilled({ memoryPeakBytes: 1000 }, { exitCode: 137 }), true);
    assert.equal(oomKilled({ memoryPeakBytes: 1000 }, { exitCode: 137, killedByUs: true }), false);
    assert.equal(oomKilled({ memoryPeakBytes: 1000 }, { exitCode: 1 }), false);
    assert.equal(oomKilled({ memoryPeakBytes: 500 }, { exitCode: 137 }), false);
    assert.equal(oomKilled({}, { exitCode: 137 }), false);
  });

  it('gives a reason for every value that it does not know', () => {
    const { usage } = verdictOf(evidence({ cpuSeconds: 1 }), REQUEST);
    assert.deepEqual(Object.keys(usage.unknown ?? {}), ['peakMemoryBytes', 'bytesWritten', 'maxProcesses']);
  });

  it('reads back what it stored, and survives what it did not', () => {
    const stored = evidence({ oomKills: 3 }, { exitCode: 4, diskFull: true });
    assert.deepEqual(parseEvidence(JSON.parse(JSON.stringify(stored))), stored);
    assert.deepEqual(parseEvidence(null), NO_EVIDENCE);
    assert.deepEqual(parseEvidence({ counters: {} }), NO_EVIDENCE);
  });

  it('never forgets what one of two looks saw', () => {
    const value = fc.option(fc.nat(), { nil: null });
    const counters = fc.record({
      oomKills: value,
      memoryPeakBytes: value,
      cpuSeconds: value,
      pidsPeak: value,
      pidsRefused: value,
      bytesWritten: value,
    });
    fc.assert(
      fc.property(counters, counters, (a, b) => {
        const merged = mergeCounters(a, b);
        assert.deepEqual(merged, mergeCounters(b, a));
        for (const key of Object.keys(merged) as (keyof Counters)[])
          for (const seen of [a[key], b[key]]) assert.ok(seen === null || (merged[key] ?? -1) >= seen);
      }),
    );
  });
});
