/** What a worker must know of the machine it runs on. */
import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';

/** Names this boot of the kernel. */
export const readBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Milliseconds since boot, sleep included: no clock that is set can change it. */
export const readUptimeMs = (): number =>
  Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000);

export interface HostCapacityUnits {
  readonly cpusMilli: number;
  readonly memoryMib: number;
}

/** All cpus, and all memory less a reserve for the host itself (1 GB or 10 %, whichever is more), unless configured. */
export function hostCapacity(config: {
  cpus?: number | undefined;
  memoryGb?: number | undefined;
}): HostCapacityUnits {
  const totalMib = Math.floor(totalmem() / 2 ** 20);
  const reserveMib = Math.max(1024, Math.ceil(totalMib / 10));
  return {
    cpusMilli: (config.cpus ?? availableParallelism()) * 1000,
    memoryMib: config.memoryGb === undefined ? Math.max(1024, totalMib - reserveMib) : config.memoryGb * 1024,
  };
}
