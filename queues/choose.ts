/**
 * Which waiting job starts on which host now. A pure function; Redis only checks and reserves what it chose.
 *
 * Order is priority, then position. The first job that fits nowhere gets a promise: the host where it can start
 * soonest, by the latest ends of what runs there. Later jobs may start on other hosts, or on that one if they must
 * have ended by then or leave room for it (EASY backfill). So a large job is not starved by small ones, and the
 * promise only ever moves forward, because jobs end at their latest end or sooner.
 */
import type { Amount } from './semaphore/semaphore.ts';

export interface WaitingJob extends Amount {
  readonly jobId: string;
  /** 1 highest … 10 lowest. */
  readonly priority: number;
  readonly position: number;
  /** Longest time that it may hold its resources, ms. */
  readonly runMs: number;
}

export interface RunningJob extends Amount {
  /** Latest end, ms since the Unix epoch; null when unknown. */
  readonly endsBy: number | null;
}

/** A host that takes work now. Others are left out. */
export interface OpenHost {
  readonly name: string;
  readonly capacity: Amount;
  readonly running: readonly RunningJob[];
}

export interface Start {
  readonly jobId: string;
  readonly host: string;
  readonly endsBy: number;
}

/** The first job that has to wait, and what is kept for it. */
export interface Promised {
  readonly jobId: string;
  readonly host: string;
  /** It can start by then, ms since the Unix epoch; null when something there has no known end. */
  readonly at: number | null;
}

export interface Choice {
  /** In the order in which to start them. */
  readonly starts: readonly Start[];
  readonly promised: Promised | null;
  /** Jobs that don't start now though they were looked at, in order, and why. */
  readonly waiting: readonly { readonly jobId: string; readonly why: Why }[];
}

/**
 * `too_large`: no open host is that large. `no_room`: none has that much free. `held_back`: there is room, and it is
 * kept for a job ahead that would otherwise have to wait longer.
 */
export type Why = 'too_large' | 'no_room' | 'held_back';

const fits = (free: Amount, wanted: Amount): boolean =>
  wanted.cpusMilli <= free.cpusMilli && wanted.memoryMib <= free.memoryMib;
const minus = (a: Amount, b: Amount): Amount => ({
  cpusMilli: a.cpusMilli - b.cpusMilli,
  memoryMib: a.memoryMib - b.memoryMib,
});
const plus = (a: Amount, b: Amount): Amount => ({
  cpusMilli: a.cpusMilli + b.cpusMilli,
  memoryMib: a.memoryMib + b.memoryMib,
});

interface Room {
  readonly name: string;
  readonly capacity: Amount;
  free: Amount;
  running: RunningJob[];
}

interface Shadow extends Promised {
  /** What will be left beside the promised job when it starts. */
  spare: Amount;
}

export function choose(now: number, jobs: readonly WaitingJob[], hosts: readonly OpenHost[]): Choice {
  const rooms = hosts.map(toRoom);
  const starts: Start[] = [];
  const waiting: { jobId: string; why: Why }[] = [];
  let promised = null as Shadow | null;

  for (const job of [...jobs].sort(inOrder)) {
    const endsBy = now + job.runMs;
    const roomy = rooms
      .filter((room) => fits(room.free, job))
      .sort((a, b) => tightness(a, job) - tightness(b, job));
    const allowed = roomy.find((room) => !promised || keeps(promised, room, job, endsBy));
    if (allowed) {
      if (promised && allowed.name === promised.host && !endsInTime(promised, endsBy)) {
        promised.spare = minus(promised.spare, job);
      }
      allowed.free = minus(allowed.free, job);
      allowed.running.push({ cpusMilli: job.cpusMilli, memoryMib: job.memoryMib, endsBy });
      starts.push({ jobId: job.jobId, host: allowed.name, endsBy });
      continue;
    }
    const why: Why =
      roomy.length > 0
        ? 'held_back'
        : rooms.some((room) => fits(room.capacity, job))
          ? 'no_room'
          : 'too_large';
    waiting.push({ jobId: job.jobId, why });
    if (why !== 'too_large') promised ??= soonest(now, job, rooms);
  }
  return {
    starts,
    promised: promised && { jobId: promised.jobId, host: promised.host, at: promised.at },
    waiting,
  };
}

const inOrder = (a: WaitingJob, b: WaitingJob): number => a.priority - b.priority || a.position - b.position;

function toRoom(host: OpenHost): Room {
  const used = host.running.reduce<Amount>(plus, { cpusMilli: 0, memoryMib: 0 });
  return {
    name: host.name,
    capacity: host.capacity,
    free: minus(host.capacity, used),
    running: [...host.running],
  };
}

/** How much of the host would be left idle beside the job: the fullest host is taken first, so that gaps stay large. */
function tightness(room: Room, job: Amount): number {
  const left = minus(room.free, job);
  return left.cpusMilli / room.capacity.cpusMilli + left.memoryMib / room.capacity.memoryMib;
}

const endsInTime = (promised: Shadow, endsBy: number): boolean =>
  promised.at !== null && endsBy <= promised.at;

const keeps = (promised: Shadow, room: Room, job: Amount, endsBy: number): boolean =>
  room.name !== promised.host || endsInTime(promised, endsBy) || fits(promised.spare, job);

/** The host where the job can start soonest; among equals the one with most to spare then. */
function soonest(now: number, job: WaitingJob, rooms: readonly Room[]): Shadow | null {
  let best: Shadow | null = null;
  for (const room of rooms) {
    if (!fits(room.capacity, job)) continue;
    const { at, free } = whenItFits(now, job, room);
    const option = { jobId: job.jobId, host: room.name, at, spare: minus(free, job) };
    if (!best || (at ?? Infinity) < (best.at ?? Infinity)) best = option;
  }
  return best;
}

/** Lets the running jobs end at their latest ends until the job fits. What has no known end goes last, at no time. */
function whenItFits(now: number, job: Amount, room: Room): { at: number | null; free: Amount } {
  let free = room.free;
  const ends = [...room.running].sort((a, b) => (a.endsBy ?? Infinity) - (b.endsBy ?? Infinity));
  for (let index = 0; index < ends.length; index += 1) {
    const running = ends[index];
    if (!running) break;
    free = plus(free, running);
    // All that end at the same moment count for what will be to spare.
    const next = ends[index + 1];
    if (next && next.endsBy === running.endsBy) continue;
    // Overdue: it is being ended, and that is not now yet.
    if (fits(free, job))
      return { at: running.endsBy === null ? null : Math.max(running.endsBy, now + 1), free };
  }
  return { at: null, free };
}
