import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { amountOf } from '../../src/jobs/amount.ts';
import { lowerDefaults } from '../../src/jobs/waiting-limits.ts';
import { parseCreateJob, toJobSpec } from '../../src/jobs/request.ts';
import { LIMITS } from '../support/jobs.ts';

/** Cpus, GB and the number of notes that a job gets on hosts of these cpus and GB. */
function granted(
  asked: Record<string, unknown>,
  ...hosts: (readonly [cpus: number, memoryGb: number])[]
): number[] {
  const request = parseCreateJob({ type: 'worker', command: 'true', ...asked });
  const capacities = hosts.map(([cpus, memoryGb]) => ({ capacity: amountOf({ cpus, memoryGb }) }));
  const { spec, notes } = lowerDefaults(toJobSpec(request, LIMITS), request, capacities);
  return [spec.cpus, spec.memoryGb, notes.length];
}

describe('defaults that no host has', () => {
  it('are lowered to the largest host, and each is told', () => {
    assert.deepEqual(granted({}, [1, 2], [1, 3]), [1, 3, 2]);
    assert.deepEqual(granted({}, [4, 2]), [2, 2, 1]);
  });

  it('stay where a host has them, or none is known', () => {
    assert.deepEqual(granted({}, [1, 1], [2, 4]), [2, 4, 0]);
    assert.deepEqual(granted({}), [2, 4, 0]);
  });

  it('are not what was asked for: that is never lowered', () => {
    assert.deepEqual(granted({ cpus: 3 }, [2, 8]), [3, 4, 0]);
    assert.deepEqual(granted({ cpus: 1 }, [1, 2], [4, 1]), [1, 2, 1]);
  });
});
