/** What a worker must know of the machine it runs on. */
import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { type Amount, mibOf, mibOfBytes, milliOf } from '../src/jobs/amount.ts';

/** Names this boot of the kernel. */
export const readBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Milliseconds since boot, sleep included: no clock that is set can change it. */
export const readUptimeMs = (): number =>
  Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000);

/** All cpus, and all memory less a reserve for the host itself (1 GB or 10 %, whichever is more), unless configured. */
export function hostCapacity(config: { cpus?: number | undefined; memoryGb?: number | undefined }): Amount {
  const totalMib = mibOfBytes(totalmem());
  const reserveMib = Math.max(1024, Math.ceil(totalMib / 10));
  return {
    cpusMilli: milliOf(config.cpus ?? availableParallelism()),
    memoryMib: config.memoryGb === undefined ? Math.max(1024, totalMib - reserveMib) : mibOf(config.memoryGb),
  };
}
