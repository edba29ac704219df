/**
 * Which waiting job starts on which host now. A pure function; Redis only checks and reserves what it chose.
 *
 * Between owners: the one that holds the least goes first, by its dominant share (the larger of its parts of all cpus
 * and of all memory, divided by its weight; Ghodsi et al., "Dominant Resource Fairness", NSDI 2011), and every start
 * counts for the next choice. Of equal shares the one that was served longest ago goes first: when a host was emptied for
 * a large job, its owner and the one with 10,000 older jobs both hold nothing. Within an owner: by `key`, then position;
 * see {@link WaitingJob}.
 *
 * The first job that has room nowhere gets a promise: the host where it can start soonest, by the latest ends of what
 * runs there. Later jobs may start on other hosts, or on that one if they must have ended by then or leave room for it
 * (EASY backfill; Lifka, "The ANL/IBM SP Scheduling System", 1995). So a large job is not starved by small ones, and
 * the promise only ever moves forward, because jobs end at their latest end or sooner.
 *
 * Jobs of other owners respect a promise at once, jobs of the same owner when it is firm: when the job has waited
 * {@link WORTH} times as long as its room will stand idle for it. A host that is emptied for a large job costs its
 * owner's small ones more than they gain from it; several large ones that have waited go one after the other for one
 * such price. (Selective reservations: Srinivasan, Kettimuthu, Subramani, Sadayappan, "Selective Reservation Strategies
 * for Backfill Job Scheduling", 2002.) `bench/fairness.ts` shows what that does.
 *
 * A job that waits for an image, or for a limit of its owner, is passed by and gets no promise: nothing stays idle for
 * what other jobs' ends can't bring. A host that could not get an image is none for its jobs where another one has it.
 */
import { add, type Amount, amountOn, fits, NOTHING, subtract } from '../src/jobs/amount.ts';
import {
  has,
  hasRoom,
  isAble,
  lacksDisk,
  type OpenHost,
  type Room,
  type RunningJob,
  tightest,
  toRoom,
  whenItFits,
} from './host-room.ts';
import { type Held, type Share, type Terms, Turns } from './turns.ts';

export type { Held, Terms };

export interface WaitingJob extends Amount {
  readonly jobId: string;
  readonly owner: string;
  readonly image: string;
  /** Place among its owner's jobs: when it began to wait, and later the lower its priority. Ties go by position. */
  readonly key: number;
  readonly position: number;
  /** When it began to wait, ms since the Unix epoch. */
  readonly since: number;
  /** Longest time that it may hold its resources, ms. */
  readonly runMs: number;
}

export interface Fairness {
  /** By owner; one that is not in here holds nothing. Left out: what runs on the open hosts. */
  readonly held?: ReadonlyMap<string, Held>;
  /** When each owner last got something, ms since the Unix epoch; one that is not in here never did. */
  readonly served?: ReadonlyMap<string, number>;
  /** Left out: everybody weighs the same and nobody has limits. */
  readonly terms?: (owner: string) => Terms;
  /**
   * Once a job has waited this long, ms, its owner's later jobs no longer delay it: a promise is firm in any
   * case, and without one they do not pass it. Otherwise they could keep the owner's share above everybody's,
   * and its turn away, for ever. Left out: no such bound.
   */
  readonly patienceMs?: number;
}

export interface Start {
  readonly jobId: string;
  readonly host: string;
  readonly endsBy: number;
  /** What it gets of the host's disk, where that is bounded. */
  readonly diskMib?: number;
}

/** The first job that has to wait for room, and what is kept for it. */
export interface Promised {
  readonly jobId: string;
  readonly host: string;
  /** It can start by then, ms since the Unix epoch; null when something there has no known end. */
  readonly at: number | null;
  /** False: jobs of the same owner may still start in its way. */
  readonly firm: boolean;
}

/** An image that a host ought to get, so that the job can start there. */
export interface Pull {
  readonly jobId: string;
  readonly host: string;
  readonly image: string;
  /** What the pull is at, a few words; nothing before it has begun. */
  readonly step?: string;
  /** Another host, without room, has it, and some host could not get it. */
  readonly hadElsewhere?: true;
}

export interface Choice {
  /** In the order in which to start them. */
  readonly starts: readonly Start[];
  readonly promised: Promised | null;
  /** Jobs that don't start now though they were looked at, in order, and why. */
  readonly waiting: readonly { readonly jobId: string; readonly why: Why }[];
  /** One for each job that waits for its `image`. */
  readonly pulls: readonly Pull[];
}

/**
 * `too_large`: no open host is that large. `no_disk`: one is, but for its disk, which others than jobs have filled.
 * `no_room`: none has that much free. `held_back`: there is room, and it is
 * kept for a job ahead that would otherwise have to wait longer. `image`: its image has to come first. `limit`: its
 * owner holds as much as it may. `beyond_limit`: it alone is more than its owner may hold, since a limit was lowered.
 */
export type Why = 'too_large' | 'no_disk' | 'no_room' | 'held_back' | 'image' | 'limit' | 'beyond_limit';

/** What other jobs' ends can't bring: nobody can know when such a job starts. */
export const STUCK: ReadonlySet<Why> = new Set<Why>(['too_large', 'no_disk', 'image', 'beyond_limit']);

export const UNLIMITED: Terms = {
  weight: 1,
  maxJobs: Infinity,
  maxCpusMilli: Infinity,
  maxMemoryMib: Infinity,
};

/** What other jobs' ends bring. */
const WAITS_FOR_OTHERS = ['no_room', 'held_back', 'limit'] as const satisfies readonly Why[];

/** How much longer than its room will stand idle for it a job must have waited, for its promise to be firm. */
const WORTH = 16;

const NOTHING_HELD: Held = { ...NOTHING, jobs: 0 };

interface Shadow extends Promised {
  readonly job: WaitingJob;
  /** What will be left beside the promised job when it starts. */
  spare: Amount;
}

export function choose(
  now: number,
  jobs: readonly WaitingJob[],
  hosts: readonly OpenHost[],
  fairness: Fairness = {},
): Choice {
  const {
    held = heldOn(hosts),
    terms = () => UNLIMITED,
    served = new Map(),
    patienceMs = Infinity,
  } = fairness;
  const rooms = hosts.map(toRoom);
  const farm = rooms.reduce<Amount>((sum, room) => add(sum, room.capacity), NOTHING);
  const turns = new Turns(jobs, farm, held, terms, served);
  const starts: Start[] = [];
  const waiting: { jobId: string; why: Why }[] = [];
  const pulls: Pull[] = [];
  let promised = null as Shadow | null;

  for (let turn = turns.next(); turn; turn = turns.next()) {
    const { job, share } = turn;
    const endsBy = now + job.runMs;
    const usable = usableFor(job, rooms);
    const verdict = judge(job, endsBy, share, usable, promised);
    if ('start' in verdict) {
      const room = verdict.start;
      const taken = amountOn(room, job);
      room.free = subtract(room.free, taken);
      room.running.push({ ...taken, endsBy });
      if (promised && room.name === promised.host && !endsInTime(promised, endsBy)) {
        if (fits(promised.spare, taken)) promised.spare = subtract(promised.spare, taken);
        else promised = soonest(now, promised.job, rooms.filter(has(promised.job.image)), promised.firm);
      }
      const { diskMib } = taken;
      starts.push({
        jobId: job.jobId,
        host: room.name,
        endsBy,
        ...(diskMib === undefined ? {} : { diskMib }),
      });
      turns.started(job);
      continue;
    }
    waiting.push({ jobId: job.jobId, why: verdict.why });
    if (verdict.why === 'image') {
      const host = verdict.pullOn ?? soonest(now, job, rooms, null)?.host;
      if (host !== undefined)
        pulls.push({
          jobId: job.jobId,
          host,
          image: job.image,
          ...(usable === rooms ? {} : { hadElsewhere: true }),
        });
    }
    const patient = now - job.since < patienceMs;
    const getsPromise = verdict.why === 'no_room' && !promised;
    if (getsPromise) promised = soonest(now, job, rooms.filter(has(job.image)), patient ? null : true);
    const mayBePassed =
      patient ||
      getsPromise ||
      promised?.job.owner === job.owner ||
      !(WAITS_FOR_OTHERS as readonly Why[]).includes(verdict.why);
    turns.waits(mayBePassed);
  }
  return {
    starts,
    promised: promised && {
      jobId: promised.jobId,
      host: promised.host,
      at: promised.at,
      firm: promised.firm,
    },
    waiting,
    pulls,
  };
}

type Verdict =
  | { readonly start: Room }
  | { readonly why: Why; /** where the image is all that is missing */ readonly pullOn?: string };

function judge(
  job: WaitingJob,
  endsBy: number,
  share: Share,
  rooms: readonly Room[],
  promised: Shadow | null,
): Verdict {
  if (!withinLimits(NOTHING_HELD, share.terms, job)) return { why: 'beyond_limit' };
  if (!share.passing) return { why: 'held_back' };
  if (!withinLimits(share.held, share.terms, job)) return { why: 'limit' };
  const roomy = rooms.filter((room) => hasRoom(room, job));
  const allowed = promised ? roomy.filter((room) => keeps(promised, room, job, endsBy)) : roomy;
  const start = tightest(allowed.filter(has(job.image)), job);
  if (start) return { start };
  const without = tightest(allowed, job);
  if (without) return { why: 'image', pullOn: without.name };
  if (roomy.length > 0) return { why: 'held_back' };
  const able = rooms.filter((room) => isAble(room, job));
  if (able.length === 0) return { why: rooms.some((room) => lacksDisk(room, job)) ? 'no_disk' : 'too_large' };
  return { why: able.some(has(job.image)) ? 'no_room' : 'image' };
}

/** Without the hosts that could not get its image, if another one that is large enough has it. */
function usableFor(job: WaitingJob, rooms: readonly Room[]): readonly Room[] {
  if (!rooms.some(({ cannotGet }) => cannotGet.has(job.image))) return rooms;
  const had = rooms.some((room) => isAble(room, job) && has(job.image)(room));
  return had ? rooms.filter((room) => has(job.image)(room) || !room.cannotGet.has(job.image)) : rooms;
}

const withinLimits = (held: Held, terms: Terms, job: Amount): boolean =>
  held.jobs < terms.maxJobs &&
  held.cpusMilli + job.cpusMilli <= terms.maxCpusMilli &&
  held.memoryMib + job.memoryMib <= terms.maxMemoryMib;

/** What each owner holds on these hosts. */
export function heldOn(hosts: readonly { readonly running: readonly RunningJob[] }[]): Map<string, Held> {
  const held = new Map<string, Held>();
  for (const host of hosts) for (const running of host.running) addHeld(held, running);
  return held;
}

export function addHeld(held: Map<string, Held>, running: Amount & { readonly owner: string }): void {
  const before = held.get(running.owner);
  held.set(running.owner, { ...add(before ?? NOTHING, running), jobs: (before?.jobs ?? 0) + 1 });
}

const endsInTime = (promised: Shadow, endsBy: number): boolean =>
  promised.at !== null && endsBy <= promised.at;

const keeps = (promised: Shadow, room: Room, job: WaitingJob, endsBy: number): boolean =>
  room.name !== promised.host ||
  (!promised.firm && promised.job.owner === job.owner) ||
  endsInTime(promised, endsBy) ||
  fits(promised.spare, amountOn(room, job));

/**
 * The host where the job can start soonest; among equals the first.
 * @param firm null: that depends on what it costs
 */
function soonest(now: number, job: WaitingJob, rooms: readonly Room[], firm: boolean | null): Shadow | null {
  let best: { room: Room; at: number | null; free: Amount; idleMs: number } | null = null;
  for (const room of rooms) {
    if (!isAble(room, job)) continue;
    const option = { room, ...whenItFits(now, job, room) };
    if (!best || (option.at ?? Infinity) < (best.at ?? Infinity)) best = option;
  }
  return (
    best && {
      jobId: job.jobId,
      job,
      host: best.room.name,
      at: best.at,
      spare: subtract(best.free, amountOn(best.room, job)),
      firm: firm ?? (best.at === null || now - job.since >= WORTH * best.idleMs),
    }
  );
}
