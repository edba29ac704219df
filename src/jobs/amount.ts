/**
 * Cpus and memory, as everything behind the API counts them: integers in milli-cpus and MiB. The API and the settings
 * speak of cpus and GB (2^30 bytes), containers of bytes; the conversions stand here and nowhere else.
 */
export interface Amount {
  readonly cpusMilli: number;
  readonly memoryMib: number;
}

export const NOTHING: Amount = { cpusMilli: 0, memoryMib: 0 };

const MILLI = 1_000;
const MIB_PER_GB = 1_024;
const BYTES_PER_MIB = 2 ** 20;

export const milliOf = (cpus: number): number => cpus * MILLI;
export const mibOf = (gb: number): number => gb * MIB_PER_GB;

/** Of a job, or of whatever else is given in cpus and GB. */
export const amountOf = ({
  cpus,
  memoryGb,
}: {
  readonly cpus: number;
  readonly memoryGb: number;
}): Amount => ({ cpusMilli: milliOf(cpus), memoryMib: mibOf(memoryGb) });

/** As the API shows it, rounded down to whole cpus and GB. */
export const inApiUnits = ({ cpusMilli, memoryMib }: Amount): { cpus: number; memory_gb: number } => ({
  cpus: Math.floor(cpusMilli / MILLI),
  memory_gb: Math.floor(memoryMib / MIB_PER_GB),
});

/** `2 cpus and 4 GB`, rounded down. */
export function inWords(amount: Amount): string {
  const { cpus, memory_gb: gb } = inApiUnits(amount);
  return `${cpus} ${cpus === 1 ? 'cpu' : 'cpus'} and ${gb} GB`;
}

export const memoryBytesOf = ({ memoryMib }: Pick<Amount, 'memoryMib'>): number => memoryMib * BYTES_PER_MIB;
/** Whole MiB of so many bytes. */
export const mibOfBytes = (bytes: number): number => Math.floor(bytes / BYTES_PER_MIB);

export const fits = (room: Amount, wanted: Amount): boolean =>
  wanted.cpusMilli <= room.cpusMilli && wanted.memoryMib <= room.memoryMib;

export const add = (a: Amount, b: Amount): Amount => ({
  cpusMilli: a.cpusMilli + b.cpusMilli,
  memoryMib: a.memoryMib + b.memoryMib,
});

/** May be negative: a host can run more than its capacity. */
export const subtract = (a: Amount, b: Amount): Amount => ({
  cpusMilli: a.cpusMilli - b.cpusMilli,
  memoryMib: a.memoryMib - b.memoryMib,
});

/** What is left of a capacity; nothing where more is used than it has. */
export const leftOf = (capacity: Amount, used: Amount): Amount => ({
  cpusMilli: Math.max(0, capacity.cpusMilli - used.cpusMilli),
  memoryMib: Math.max(0, capacity.memoryMib - used.memoryMib),
});
