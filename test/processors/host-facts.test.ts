import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { hostCapacity } from '../../processors/host-facts.ts';
import { amountOf } from '../../src/jobs/amount.ts';

const machine = amountOf({ cpus: 8, memoryGb: 64 });

describe('the capacity of a host', () => {
  it('is what it has less a tenth of its memory, and at least 1 GB', () => {
    assert.deepEqual(hostCapacity({}, machine), { cpusMilli: 8_000, memoryMib: 65_536 - 6_554 });
    assert.deepEqual(
      hostCapacity({}, amountOf({ cpus: 2, memoryGb: 4 })),
      amountOf({ cpus: 2, memoryGb: 3 }),
    );
  });

  it('leaves out the reserve that is configured, and stays at 1 cpu and 1 GB', () => {
    assert.deepEqual(
      hostCapacity({ reserveCpus: 2, reserveMemoryMb: 4_096 }, machine),
      amountOf({ cpus: 6, memoryGb: 60 }),
    );
    assert.deepEqual(
      hostCapacity({ reserveCpus: 99, reserveMemoryMb: 999_999 }, machine),
      amountOf({ cpus: 1, memoryGb: 1 }),
    );
  });

  it('is what is configured, regardless of the reserve', () => {
    assert.deepEqual(
      hostCapacity({ cpus: 16, memoryGb: 5, reserveCpus: 2, reserveMemoryMb: 4_096 }, machine),
      amountOf({ cpus: 16, memoryGb: 5 }),
    );
  });
});
