/** The index of waiting jobs that dispatch works from: cheap at any length. BullMQ's `intake` is for people. */
import type { Redis } from 'ioredis';
import type { Job } from '../../src/jobs/job.ts';
import { scriptsOf } from '../script.ts';

const script = scriptsOf(import.meta.url);
const ENTER = script('enter');
const LEAVE = script('leave');
const CANDIDATES = script('candidates');
const PLACE = script('place');
const OVERVIEW = script('overview');

/** A waiting job as dispatch sees it. */
export interface Candidate {
  readonly jobId: string;
  readonly owner: string;
  /** 1 highest … 10 lowest. */
  readonly priority: number;
  readonly position: number;
  readonly cpusMilli: number;
  readonly memoryMib: number;
  /** Longest time that it may hold its resources, ms. */
  readonly runMs: number;
  /** Epoch of its last dispatch; the next one has one more. */
  readonly epoch: number;
}

/** Waiting jobs that one look takes in, shared among the lanes, and of one lane at most. */
const LOOK_AT = 512;
const LOOK_AT_OF_LANE = 64;

export const needsOf = (job: Pick<Job, 'cpus' | 'memoryGb'>): { cpusMilli: number; memoryMib: number } => ({
  cpusMilli: job.cpus * 1_000,
  memoryMib: job.memoryGb * 1_024,
});

export class WaitingIndex {
  readonly #connection: Redis;
  readonly #prefix: string;

  constructor(connection: Redis, prefix: string) {
    this.#connection = connection;
    this.#prefix = prefix;
  }

  /** @param overheadMs what a start and a grace period may add to the timeout */
  async enter(job: Job, overheadMs: number): Promise<void> {
    const { cpusMilli, memoryMib } = needsOf(job);
    await ENTER.run(
      this.#connection,
      [this.#prefix],
      [
        job.id,
        job.owner,
        job.priority,
        job.position,
        cpusMilli,
        memoryMib,
        job.timeoutMinutes * 60_000 + overheadMs,
        job.epoch,
        job.createdAt,
        job.maxQueueSeconds === null ? '' : job.createdAt + job.maxQueueSeconds * 1_000,
      ],
    );
  }

  async leave(jobId: string): Promise<void> {
    await LEAVE.run(this.#connection, [this.#prefix], [jobId]);
  }

  async candidates(): Promise<Candidate[]> {
    const rows = await CANDIDATES.run(this.#connection, [this.#prefix], [LOOK_AT, LOOK_AT_OF_LANE]);
    return (rows as string[][]).map(([jobId = '', owner = '', ...numbers]) => {
      const [priority = 0, position = 0, cpusMilli = 0, memoryMib = 0, runMs = 0, epoch = 0] =
        numbers.map(Number);
      return { jobId, owner, priority, position, cpusMilli, memoryMib, runMs, epoch };
    });
  }

  /** @returns 1 for the next one, null when the index does not hold the job */
  async place(jobId: string): Promise<number | null> {
    const place = Number(await PLACE.run(this.#connection, [this.#prefix], [jobId]));
    return place === 0 ? null : place;
  }

  async overview(): Promise<{ length: number; oldestCreatedAt: number | null }> {
    const [length, oldest] = (await OVERVIEW.run(this.#connection, [this.#prefix], [])) as [number, string];
    return { length, oldestCreatedAt: oldest === '' ? null : Number(oldest) };
  }

  /** Jobs whose longest wait is over. */
  overdue(now: number, limit: number): Promise<string[]> {
    return this.#connection.zrangebyscore(
      `${this.#prefix}:waiting:deadlines`,
      '-inf',
      now,
      'LIMIT',
      0,
      limit,
    );
  }

  /** Of these jobs, those that the index does not hold. */
  async missing(jobIds: readonly string[]): Promise<string[]> {
    if (jobIds.length === 0) return [];
    const pipeline = this.#connection.pipeline();
    for (const jobId of jobIds) pipeline.exists(`${this.#prefix}:waiting:job:${jobId}`);
    const results = (await pipeline.exec()) ?? [];
    return jobIds.filter((_, index) => {
      const [error, exists] = results[index] ?? [new Error('no answer'), null];
      if (error) throw error;
      return exists === 0;
    });
  }
}
