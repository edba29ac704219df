/** The index of waiting jobs that dispatch works from: cheap at any length. BullMQ's `intake` is for people. */
import type { Redis } from 'ioredis';
import { type Amount, amountOf } from '../../src/jobs/amount.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Keys } from '../keys.ts';
import { scriptsOf } from '../script.ts';

const script = scriptsOf(import.meta.url);
const ENTER = script('enter');
const LEAVE = script('leave');
const CANDIDATES = script('candidates');
const PLACE = script('place');
const OVERVIEW = script('overview');

/** A waiting job as dispatch sees it. */
export interface Candidate extends Amount {
  readonly jobId: string;
  readonly owner: string;
  readonly image: string;
  /** 1 highest … 10 lowest. */
  readonly priority: number;
  /** Its place among its owner's jobs, see {@link keyOf}. */
  readonly key: number;
  readonly position: number;
  /** When it began to wait, ms since the Unix epoch. */
  readonly since: number;
  /** Longest time that it may hold its resources, ms. */
  readonly runMs: number;
  /** Epoch of its last dispatch; the next one has one more. */
  readonly epoch: number;
}

/** Of a job, what {@link Candidate} is made of. */
export type Queued = Pick<
  Job,
  'id' | 'owner' | 'image' | 'priority' | 'cpus' | 'memoryGb' | 'diskGb' | 'timeoutMinutes'
> & {
  readonly diskMib?: number | null;
  readonly position: number;
  readonly orderedAt: number;
  readonly epoch: number;
};

/** Waiting jobs that one look takes in, shared among the owners, and of one owner at most; one of each owner at least. */
const LOOK_AT = 256;
const LOOK_AT_OF_OWNER = 64;
/** With more owners than this, several looks take them in turns. */
const OWNERS = 1_024;

/**
 * Where a job stands among its owner's: as if a job of the next lower priority had come `ageingMs` later. So an older
 * job is passed by one of a higher priority, but by none that came that much later for each step between the two;
 * and because all age alike the order of two jobs never changes while they wait.
 */
export const keyOf = (job: Pick<Job, 'orderedAt' | 'priority'>, ageingMs: number): number =>
  job.orderedAt + (job.priority - 1) * ageingMs;

export class WaitingIndex {
  readonly #connection: Redis;
  readonly #keys: Keys;
  readonly #ageingMs: number;
  /** The owner after which the next look begins. */
  #lastOwner = '';
  /** How many of an owner's first jobs the next look leaves out. */
  readonly #skipped = new Map<string, number>();
  /** How many jobs of each owner the last look took. */
  #each = 0;

  /** @param ageingMs how much later a job may come and still pass one whose priority is one step lower */
  constructor(connection: Redis, keys: Keys, ageingMs: number) {
    this.#connection = connection;
    this.#keys = keys;
    this.#ageingMs = ageingMs;
  }

  /** A job as dispatch sees it. @param overheadMs what a start and a grace period may add to the timeout */
  candidateOf(job: Queued, overheadMs: number): Candidate {
    return {
      jobId: job.id,
      owner: job.owner,
      image: job.image,
      priority: job.priority,
      key: keyOf(job, this.#ageingMs),
      position: job.position,
      since: job.orderedAt,
      ...amountOf(job),
      runMs: job.timeoutMinutes * 60_000 + overheadMs,
      epoch: job.epoch,
    };
  }

  /** @param overheadMs as in {@link candidateOf} */
  async enter(job: Job, overheadMs: number): Promise<void> {
    const { jobId, ...entry } = this.candidateOf(job, overheadMs);
    const deadline = job.maxQueueSeconds === null ? '' : job.createdAt + job.maxQueueSeconds * 1_000;
    await ENTER.run(
      this.#connection,
      [this.#keys.prefix],
      [jobId, JSON.stringify(entry), job.createdAt, deadline],
    );
  }

  async leave(jobId: string): Promise<void> {
    await LEAVE.run(this.#connection, [this.#keys.prefix], [jobId]);
  }

  /** The first jobs of every owner; with more than {@link OWNERS} owners, of the next ones of them. */
  async candidates(): Promise<Candidate[]> {
    const [last = '', each = '0', ...flat] = (await CANDIDATES.run(
      this.#connection,
      [this.#keys.prefix],
      [LOOK_AT, LOOK_AT_OF_OWNER, OWNERS, this.#lastOwner, JSON.stringify(Object.fromEntries(this.#skipped))],
    )) as string[];
    this.#lastOwner = last;
    this.#each = Number(each);
    const candidates: Candidate[] = [];
    for (let index = 0; index + 1 < flat.length; index += 2) {
      const entry = JSON.parse(flat[index + 1] ?? '') as Omit<Candidate, 'jobId'>;
      candidates.push({ jobId: flat[index] ?? '', ...entry });
    }
    return candidates;
  }

  /**
   * Tells what the last look found to wait for what may never come (an image, a larger host). Owners whose jobs all
   * did, and filled what one look takes of them, are looked at further down the next time, and so on to their end.
   * @returns whether there are such
   */
  noteStuck(candidates: readonly Candidate[], stuck: ReadonlySet<string>): boolean {
    const before = new Map(this.#skipped);
    this.#skipped.clear();
    for (const [owner, own] of Map.groupBy(candidates, (candidate) => candidate.owner)) {
      if (own.length >= this.#each && own.every(({ jobId }) => stuck.has(jobId)))
        this.#skipped.set(owner, (before.get(owner) ?? 0) + own.length);
    }
    return this.#skipped.size > 0;
  }

  /**
   * Something has come that jobs waited for: the next look leaves out none of the first ones.
   * @returns whether the last look did
   */
  lookFromFront(): boolean {
    const further = this.#skipped.size > 0;
    this.#skipped.clear();
    return further;
  }

  /** @returns 1 for the next one, null when the index does not hold the job */
  async place(jobId: string): Promise<number | null> {
    return (await this.places([jobId]))[0] ?? null;
  }

  /** What {@link place} goes by, for owners whose weight is not 1. */
  async setWeights(weights: ReadonlyMap<string, number>): Promise<void> {
    const writing = this.#connection.multi().del(this.#keys.weights);
    if (weights.size > 0) writing.hset(this.#keys.weights, Object.fromEntries(weights));
    await writing.exec();
  }

  /** {@link place} of several at the cost of little more than one. */
  async places(jobIds: readonly string[]): Promise<(number | null)[]> {
    if (jobIds.length === 0) return [];
    const places = (await PLACE.run(this.#connection, [this.#keys.prefix], jobIds)) as number[];
    return places.map((place) => (place === 0 ? null : place));
  }

  /** How many jobs of each owner wait. */
  async counts(): Promise<Map<string, number>> {
    const counts = await this.#connection.hgetall(this.#keys.waitingCounts);
    return new Map(Object.entries(counts).map(([owner, count]) => [owner, Number(count)]));
  }

  async overview(): Promise<{ length: number; oldestCreatedAt: number | null }> {
    const [length, oldest] = (await OVERVIEW.run(this.#connection, [this.#keys.prefix], [])) as [
      number,
      string,
    ];
    return { length, oldestCreatedAt: oldest === '' ? null : Number(oldest) };
  }

  /** Jobs whose longest wait is over. */
  overdue(now: number, limit: number): Promise<string[]> {
    return this.#connection.zrangebyscore(this.#keys.waitingDeadlines, '-inf', now, 'LIMIT', 0, limit);
  }

  /** Of these jobs, those that the index does not hold. */
  async missing(jobIds: readonly string[]): Promise<string[]> {
    if (jobIds.length === 0) return [];
    const pipeline = this.#connection.pipeline();
    for (const jobId of jobIds) {
      pipeline.exists(this.#keys.waitingJob(jobId));
      pipeline.zscore(this.#keys.waitingAll, jobId);
    }
    const answers = ((await pipeline.exec()) ?? []).map(([error, answer]) => {
      if (error) throw error;
      return answer;
    });
    return jobIds.filter(
      (_, index) => answers[2 * index] !== 1 || typeof answers[2 * index + 1] !== 'string',
    );
  }
}
