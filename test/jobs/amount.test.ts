import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  add,
  amountOf,
  fits,
  inApiUnits,
  inWords,
  leftOf,
  memoryBytesOf,
  mibOfBytes,
  NOTHING,
  subtract,
} from '../../src/jobs/amount.ts';

const amounts = fc.record(
  { cpusMilli: fc.nat(1_000_000), memoryMib: fc.nat(10_000_000), diskMib: fc.nat(10_000_000) },
  { requiredKeys: ['cpusMilli', 'memoryMib'] },
);

describe('an amount', () => {
  it('comes back from cpus and GB as it was, and is rounded down otherwise', () => {
    fc.assert(
      fc.property(fc.nat(4_096), fc.nat(65_536), (cpus, memoryGb) => {
        assert.deepEqual(inApiUnits(amountOf({ cpus, memoryGb })), { cpus, memory_gb: memoryGb });
      }),
    );
    assert.deepEqual(inApiUnits({ cpusMilli: 1_999, memoryMib: 2_047 }), { cpus: 1, memory_gb: 1 });
    assert.equal(inWords(amountOf({ cpus: 1, memoryGb: 4 })), '1 cpu and 4 GB');
    assert.equal(inWords(amountOf({ cpus: 2, memoryGb: 4, diskGb: 20 })), '2 cpus, 4 GB and 20 GB of disk');
    assert.equal(amountOf({ cpus: 1, memoryGb: 1, diskGb: 20, diskMib: 512 }).diskMib, 512);
  });

  it('counts memory in MiB: 1 GB is 2^30 bytes', () => {
    assert.equal(memoryBytesOf(amountOf({ cpus: 1, memoryGb: 1 })), 2 ** 30);
    assert.equal(mibOfBytes(2 ** 21 - 1), 1);
  });

  it('fits where what is left of both is enough', () => {
    fc.assert(
      fc.property(amounts, amounts, (room, wanted) => {
        const left = subtract(room, wanted);
        const { diskMib = 0 } = left;
        assert.equal(fits(room, wanted), left.cpusMilli >= 0 && left.memoryMib >= 0 && diskMib >= 0);
        if (room.diskMib !== undefined) assert.deepEqual(add(left, wanted), { ...room });
        assert.ok(fits(leftOf(room, wanted), NOTHING));
      }),
    );
  });
});
