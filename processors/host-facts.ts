/** What a worker must know of the machine it runs on. */
import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import type { Config } from '../src/config.ts';
import { type Amount, mibOf, mibOfBytes, milliOf, subtract } from '../src/jobs/amount.ts';

/** Milliseconds since boot, sleep included: no clock that is set can change it. */
export const readUptimeMs = (): number =>
  Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000);

/**
 * What jobs may reserve of this host: what is configured, else all that it has less the reserve for the host itself
 * (1 GB or 10 % of the memory, whichever is more, unless that is configured); never less than 1 cpu and 1 GB.
 */
export function hostCapacity(
  config: Partial<Pick<Config, 'cpus' | 'memoryGb' | 'reserveCpus' | 'reserveMemoryMb'>>,
  machine: Amount = { cpusMilli: milliOf(availableParallelism()), memoryMib: mibOfBytes(totalmem()) },
): Amount {
  const reserve = {
    cpusMilli: milliOf(config.reserveCpus ?? 0),
    memoryMib: config.reserveMemoryMb ?? Math.max(mibOf(1), Math.ceil(machine.memoryMib / 10)),
  };
  const offered = subtract(machine, reserve);
  return {
    cpusMilli: config.cpus === undefined ? Math.max(milliOf(1), offered.cpusMilli) : milliOf(config.cpus),
    memoryMib: config.memoryGb === undefined ? Math.max(mibOf(1), offered.memoryMib) : mibOf(config.memoryGb),
  };
}
