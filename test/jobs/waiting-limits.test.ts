import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { amountOf } from '../../src/jobs/amount.ts';
import { lowerDefaults, refuseUnsatisfiable } from '../../src/jobs/waiting-limits.ts';
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

  it('let a job start on one cpu and one GB', () => {
    assert.deepEqual(granted({}, [1, 1]), [1, 1, 2]);
  });

  it('are told beside the figures of a refusal, which are those after a maximum', () => {
    const host = { name: 'a', capacity: amountOf({ cpus: 2, memoryGb: 4 }), draining: false };
    assert.throws(
      () => refuseUnsatisfiable([host], amountOf({ cpus: 8, memoryGb: 4 }), ['`cpus` of 99 gets 8.']),
      /No host has 8 cpus and 4 GB; the largest has 2 cpus and 4 GB\. `cpus` of 99 gets 8\./,
    );
  });
});
