/** The room that a host has in one round of choices: what is free there now, and what will be when running jobs end. */
import { add, type Amount, amountOn, fits, NOTHING, subtract } from '../src/jobs/amount.ts';

const NO_IMAGES: ReadonlySet<string> = new Set();

export interface RunningJob extends Amount {
  readonly owner: string;
  /** Latest end, ms since the Unix epoch; null when unknown. */
  readonly endsBy: number | null;
}

/** A host that takes work now. Others are left out. */
export interface OpenHost {
  readonly name: string;
  readonly capacity: Amount;
  readonly running: readonly RunningJob[];
  /** Images that it is known not to have. An image that is not in here is taken to be there. */
  readonly lacks: ReadonlySet<string>;
  /** Of those, the ones that it has tried to get, in vain. Left out: none. */
  readonly cannotGet?: ReadonlySet<string>;
  /** What a job without a wish for disk gets here at most, MiB. */
  readonly diskMostMib?: number;
}

export interface Room {
  readonly name: string;
  readonly capacity: Amount;
  readonly lacks: ReadonlySet<string>;
  readonly cannotGet: ReadonlySet<string>;
  readonly diskMostMib?: number;
  free: Amount;
  running: (Amount & { readonly endsBy: number | null })[];
}

export const has =
  (image: string) =>
  (room: Room): boolean =>
    !room.lacks.has(image);

export function toRoom(host: OpenHost): Room {
  const used = host.running.reduce<Amount>(add, NOTHING);
  return {
    name: host.name,
    capacity: host.capacity,
    lacks: host.lacks,
    cannotGet: host.cannotGet ?? NO_IMAGES,
    ...(host.diskMostMib === undefined ? {} : { diskMostMib: host.diskMostMib }),
    free: subtract(host.capacity, used),
    // What jobs hold of a disk that nobody bounds comes free for nobody.
    running: host.running.map((job) =>
      host.capacity.diskMib === undefined ? withoutDisk(job) : { ...job, diskMib: job.diskMib ?? 0 },
    ),
  };
}

function withoutDisk<Job extends Amount>({ diskMib: _, ...job }: Job): Omit<Job, 'diskMib'> {
  return job;
}

/** Whether the job has room there now. */
export const hasRoom = (room: Room, job: Amount): boolean => fits(room.free, amountOn(room, job));

/** Whether it would have, if nothing else ran there. */
export const isAble = (room: Room, job: Amount): boolean => fits(room.capacity, amountOn(room, job));

/** Whether only its disk is too small for that. */
export const lacksDisk = (room: Room, job: Amount): boolean =>
  !isAble(room, job) && fits({ ...room.capacity, diskMib: Infinity }, job);

/** The room that is fullest with the job in it, so that gaps stay large; of equals the first. */
export function tightest(rooms: readonly Room[], job: Amount): Room | undefined {
  let best: Room | undefined;
  let least = Infinity;
  for (const room of rooms) {
    const left = subtract(room.free, job);
    const idle = left.cpusMilli / room.capacity.cpusMilli + left.memoryMib / room.capacity.memoryMib;
    if (best && idle >= least) continue;
    best = room;
    least = idle;
  }
  return best;
}

/**
 * Lets the running jobs end at their latest ends until the job fits. What has no known end goes last, at no time.
 * `idleMs`: how long the job's room stands idle until then, parts of it in proportion.
 */
export function whenItFits(
  now: number,
  job: Amount,
  room: Room,
): { at: number | null; free: Amount; idleMs: number } {
  let { free } = room;
  const wanted = amountOn(room, job);
  let [at, idleMs] = [now, 0];
  const ends = [...room.running].sort((a, b) => (a.endsBy ?? Infinity) - (b.endsBy ?? Infinity));
  for (let index = 0; index < ends.length; index += 1) {
    const running = ends[index];
    if (!running) break;
    // Overdue: it is being ended, and that is not now yet.
    const end = Math.max(running.endsBy ?? Infinity, now + 1);
    const part = Math.min(free.cpusMilli / job.cpusMilli, free.memoryMib / job.memoryMib);
    idleMs += part > 0 ? part * (end - at) : 0;
    at = end;
    free = add(free, running);
    // All that end at the same moment count for what will be to spare.
    const next = ends[index + 1];
    if (next && next.endsBy === running.endsBy) continue;
    if (fits(free, wanted)) return { at: running.endsBy === null ? null : at, free, idleMs };
  }
  return { at: null, free, idleMs };
}
