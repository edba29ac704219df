/**
 * Cpus, memory and disk, as everything behind the API counts them: integers in milli-cpus and MiB. The API and the settings
 * speak of cpus and GB (2^30 bytes), containers of bytes; the conversions stand here and nowhere else.
 */
export interface Amount {
  readonly cpusMilli: number;
  readonly memoryMib: number;
  /** Disk. Left out: of a job, that it gets its part of the host it starts on; of a host, that nobody bounds it. */
  readonly diskMib?: number;
}

export const NOTHING: Amount = { cpusMilli: 0, memoryMib: 0 };

const MILLI = 1_000;
const MIB_PER_GB = 1_024;
const BYTES_PER_MIB = 2 ** 20;

export const milliOf = (cpus: number): number => cpus * MILLI;
export const mibOf = (gb: number): number => gb * MIB_PER_GB;

/** Of a job, or of anything in cpus and GB. What a host gave a job of its disk goes before its wish. */
export const amountOf = ({
  cpus,
  memoryGb,
  diskGb = null,
  diskMib = null,
}: {
  readonly cpus: number;
  readonly memoryGb: number;
  readonly diskGb?: number | null;
  readonly diskMib?: number | null;
}): Amount => ({
  cpusMilli: milliOf(cpus),
  memoryMib: mibOf(memoryGb),
  ...withDisk(diskMib ?? (diskGb === null ? undefined : mibOf(diskGb))),
});

const withDisk = (diskMib: number | undefined): Pick<Amount, 'diskMib'> =>
  diskMib === undefined ? {} : { diskMib };

/** As the API shows it, rounded down to whole cpus and GB. */
export const inApiUnits = ({
  cpusMilli,
  memoryMib,
  diskMib,
}: Amount): { cpus: number; memory_gb: number; disk_gb?: number } => ({
  cpus: Math.floor(cpusMilli / MILLI),
  memory_gb: Math.floor(memoryMib / MIB_PER_GB),
  ...(diskMib === undefined ? {} : { disk_gb: Math.floor(diskMib / MIB_PER_GB) }),
});

/** `2 cpus and 4 GB`, or `2 cpus, 4 GB and 10 GB of disk`; rounded down. */
export function inWords(amount: Amount): string {
  const { cpus, memory_gb: gb, disk_gb: disk } = inApiUnits(amount);
  const first = `${cpus} ${cpus === 1 ? 'cpu' : 'cpus'}`;
  return disk === undefined ? `${first} and ${gb} GB` : `${first}, ${gb} GB and ${disk} GB of disk`;
}

export const memoryBytesOf = ({ memoryMib }: Pick<Amount, 'memoryMib'>): number => memoryMib * BYTES_PER_MIB;
/** Whole MiB of a number of bytes. */
export const mibOfBytes = (bytes: number): number => Math.floor(bytes / BYTES_PER_MIB);

export const fits = (room: Amount, wanted: Amount): boolean =>
  wanted.cpusMilli <= room.cpusMilli &&
  wanted.memoryMib <= room.memoryMib &&
  (wanted.diskMib ?? 0) <= (room.diskMib ?? Infinity);

export const add = (a: Amount, b: Amount): Amount => ({
  cpusMilli: a.cpusMilli + b.cpusMilli,
  memoryMib: a.memoryMib + b.memoryMib,
  ...withDisk(a.diskMib === undefined ? b.diskMib : a.diskMib + (b.diskMib ?? 0)),
});

/** May be negative: a host can run more than its capacity. */
export const subtract = (a: Amount, b: Amount): Amount => ({
  cpusMilli: a.cpusMilli - b.cpusMilli,
  memoryMib: a.memoryMib - b.memoryMib,
  ...withDisk(a.diskMib === undefined ? undefined : a.diskMib - (b.diskMib ?? 0)),
});

/** What is left of a capacity; nothing where more is used than it has. */
export const leftOf = (capacity: Amount, used: Amount): Amount => ({
  cpusMilli: Math.max(0, capacity.cpusMilli - used.cpusMilli),
  memoryMib: Math.max(0, capacity.memoryMib - used.memoryMib),
  ...withDisk(
    capacity.diskMib === undefined ? undefined : Math.max(0, capacity.diskMib - (used.diskMib ?? 0)),
  ),
});

/** A job without a wish gets no less than this of a host's disk, unless the host gives nobody so much. */
const LEAST_SHARE_MIB = 1_024;

/**
 * What a job takes on a host: its wish for disk, or the part of the host's disk that its cpus are of the host's.
 * @param host.diskMostMib what a job without a wish gets at most
 */
export function amountOn(
  { capacity, diskMostMib = Infinity }: { readonly capacity: Amount; readonly diskMostMib?: number },
  { cpusMilli, memoryMib, diskMib }: Amount,
): Amount {
  if (capacity.diskMib === undefined) return { cpusMilli, memoryMib };
  const part = Math.floor((Math.max(0, capacity.diskMib) * cpusMilli) / capacity.cpusMilli);
  const share = Math.min(Math.max(part, LEAST_SHARE_MIB), diskMostMib);
  return { cpusMilli, memoryMib, diskMib: diskMib ?? share };
}
