/**
 * When waiting jobs will start, at the latest: dispatch is played forward with every job held for as long as it may
 * be. A pure function on top of `choose`, so that it takes jobs in the order in which dispatch would.
 *
 * It is an upper bound in the way of a timetable, not a proof: jobs that end early, and only those, bring starts
 * forward in nearly every case; but an early end can also let another job in first, and what comes later with a higher
 * priority, or of an owner that holds less, is not known yet. (Bounds of list scheduling under such changes: Graham,
 * "Bounds on Multiprocessing Timing Anomalies", 1969.) Images are taken to come; null is for what nobody can know:
 * behind a job without a known end, for a job that no open host is large enough for or that is beyond its owner's limits,
 * while its image is fetched.
 */
import { add, NOTHING, subtract } from '../src/jobs/amount.ts';
import { choose, type Fairness, heldOn, type Held, type WaitingJob } from './choose.ts';
import type { OpenHost } from './host-room.ts';

export interface Plan {
  /** When it was made, ms since the Unix epoch. */
  readonly at: number;
  /** Latest start of each job that was planned, ms since the Unix epoch, in the order of their turns. */
  readonly starts: ReadonlyMap<string, number | null>;
  /** Known starts in ascending order, ms after `at`. */
  readonly offsets: readonly number[];
  /** When the last of those has ended, ms after `at`. */
  readonly spanMs: number;
}

/** Jobs that are planned one by one; the rest is extrapolated, see {@link startOfPosition}. */
const PLANNED = 64;
/** Bound of what one plan costs: jobs times hosts looked at, some 20 ms. */
const MOST_STEPS = 200_000;

const NO_IMAGES: ReadonlySet<string> = new Set();

/** @param jobs in any order */
export function planStarts(
  now: number,
  jobs: readonly WaitingJob[],
  hosts: readonly OpenHost[],
  fairness: Fairness = {},
): Plan {
  const open: Simulated[] = hosts.map((host) => ({
    ...host,
    lacks: host.cannotGet ?? NO_IMAGES,
    running: [...host.running],
  }));
  const elsewhere = heldElsewhere(fairness.held, open);
  const look = (at: number, waiting: readonly WaitingJob[]) =>
    choose(at, waiting, open, { ...fairness, held: sumOf(elsewhere, heldOn(open)) });

  const byId = new Map(jobs.map((job) => [job.jobId, job]));
  const first = look(now, jobs);
  // What starts now counts as planned; of the rest, those whose turn comes first.
  const ordered = [...first.starts, ...first.waiting].slice(0, first.starts.length + PLANNED);
  const starts = new Map<string, number | null>(ordered.map(({ jobId }) => [jobId, null]));
  let waiting = ordered.flatMap(({ jobId }) => byId.get(jobId) ?? []);
  const cost = hosts.length + 1;
  let endOfAll = now;
  for (let at: number | null = now, steps = 0; at !== null && waiting.length > 0; at = nextEnd(open, at)) {
    steps += waiting.length * cost;
    if (steps > MOST_STEPS) break;
    for (const host of open) host.running = host.running.filter(({ endsBy }) => !hasEnded(endsBy, at, now));
    const { starts: begun } = look(at, waiting);
    for (const { jobId, host: name, endsBy, diskMib } of begun) {
      starts.set(jobId, at);
      endOfAll = Math.max(endOfAll, endsBy);
      const job = byId.get(jobId);
      const host = open.find((one) => one.name === name);
      if (job && host) {
        const disk = diskMib === undefined ? {} : { diskMib };
        host.running.push({ ...amountOf(job), ...disk, owner: job.owner, endsBy });
      }
    }
    const gone = new Set(begun.map(({ jobId }) => jobId));
    if (gone.size > 0) waiting = waiting.filter(({ jobId }) => !gone.has(jobId));
  }
  for (const { jobId, why } of choose(now, jobs, hosts, fairness).waiting) {
    if (why === 'image' && starts.has(jobId)) starts.set(jobId, null);
  }
  const offsets = [...starts.values()].flatMap((at) => (at === null ? [] : [at - now])).sort((a, b) => a - b);
  return { at: now, starts, offsets, spanMs: endOfAll - now };
}

/**
 * The latest start of the job at a place in the queue that was not planned by itself: as if the rest of the queue came
 * in batches like the one that was planned, each begun when the one before has ended. Never earlier for a later place.
 * @param position 1 is next @returns ms since the Unix epoch; null when nothing could be planned
 */
export function startOfPosition(
  { at, offsets, spanMs }: Pick<Plan, 'at' | 'offsets' | 'spanMs'>,
  position: number,
): number | null {
  const offset = offsets[(position - 1) % offsets.length];
  if (offset === undefined) return null;
  return at + Math.floor((position - 1) / offsets.length) * spanMs + offset;
}

interface Simulated extends OpenHost {
  running: OpenHost['running'][number][];
}

/** Overdue ones are being ended, and that is not now yet: as `choose` sees it. */
const latestEnd = (endsBy: number, now: number): number => Math.max(endsBy, now + 1);
const hasEnded = (endsBy: number | null, at: number, now: number): boolean =>
  endsBy !== null && at > now && latestEnd(endsBy, now) <= at;

function nextEnd(hosts: readonly Simulated[], at: number): number | null {
  let next = Infinity;
  for (const { running } of hosts) {
    for (const { endsBy } of running) if (endsBy !== null) next = Math.min(next, latestEnd(endsBy, at));
  }
  return next === Infinity ? null : next;
}

const amountOf = ({ cpusMilli, memoryMib }: WaitingJob) => ({ cpusMilli, memoryMib });

/** What owners hold on hosts that are not open: nobody knows until when. */
function heldElsewhere(held: ReadonlyMap<string, Held> | undefined, open: readonly Simulated[]) {
  const here = heldOn(open);
  return new Map(
    [...(held ?? here)].map(([owner, all]) => {
      const own = here.get(owner);
      return [owner, { ...subtract(all, own ?? NOTHING), jobs: all.jobs - (own?.jobs ?? 0) }];
    }),
  );
}

function sumOf(a: ReadonlyMap<string, Held>, b: ReadonlyMap<string, Held>): Map<string, Held> {
  const sum = new Map(a);
  for (const [owner, held] of b) {
    const other = sum.get(owner);
    sum.set(owner, { ...add(held, other ?? NOTHING), jobs: held.jobs + (other?.jobs ?? 0) });
  }
  return sum;
}
