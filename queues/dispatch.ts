/**
 * One dispatch: one attempt to hand a job to a host. Its steps, always in this order:
 *
 * 1. **reserve** its amount on the host, in the semaphore;
 * 2. **take** its row, `queued → starting` with the host and a new epoch. This compare-and-set decides: of all
 *    dispatchers one gets the row, however stale their view of Redis is;
 * 3. **withdraw** it from the intake and the index;
 * 4. **hand over**: put it into the host's queue.
 *
 * Each step may be repeated. What a crash leaves after step 1 the sweeper takes back, what it leaves after step 2 the
 * sweeper finishes. To reserve comes before to take, or a row would say `starting` for a host that has no room. To
 * withdraw comes before to hand over: the other way round 888 of 2,000 short jobs ran twice in a trial, because they had
 * ended before they had left the queue.
 */
import { randomUUID } from 'node:crypto';
import { dispatchId } from '../src/ids.ts';
import type { JobLifecycle } from '../src/jobs/lifecycle.ts';
import type { JobQueries } from '../src/jobs/queries.ts';
import { isWaiting } from '../src/jobs/states.ts';
import type { Start } from './choose.ts';
import type { QueueResources } from './resources.ts';
import { isRefusal } from './semaphore/refusal.ts';
import type { HoldLimits } from './semaphore/semaphore.ts';
import type { Candidate } from './waiting/waiting-index.ts';

/** What all parts of the dispatcher stand on. */
export interface DispatchOptions {
  readonly resources: QueueResources;
  readonly lifecycle: JobLifecycle;
  readonly queries: JobQueries;
}

export interface TakenDispatch {
  readonly jobId: string;
  readonly epoch: number;
  readonly host: string;
}

/** The first step is done. */
export interface Reserved extends TakenDispatch {
  readonly ticket: string;
  /** What it gets of the host's disk; null: not bounded. */
  readonly diskMib: number | null;
}

const ACTOR = 'dispatcher';
/** Of an entry in a host's queue that nobody will pick up: ended though nobody claimed it, not there, or there by half. */
const GONE: ReadonlySet<string> = new Set(['completed', 'failed', 'unknown']);

export class DispatchSteps {
  readonly #o: DispatchOptions;

  constructor(options: DispatchOptions) {
    this.#o = options;
  }

  /**
   * All four steps. An error in between leaves the rest to the sweeper.
   * @returns the dispatch, or null when the job can't start there now
   */
  async start(candidate: Candidate, start: Start, limits: HoldLimits): Promise<TakenDispatch | null> {
    // guard: reserved-before-taken
    const reserved = await this.reserve(candidate, start, limits);
    return reserved && (await this.carryOn(candidate, reserved)) ? reserved : null;
  }

  /** The first step. @param isNew it was never in the queue @returns null when the job can't start there now */
  async reserve(
    candidate: Candidate,
    { host, endsBy, diskMib }: Start,
    limits: HoldLimits,
    isNew = false,
  ): Promise<Reserved | null> {
    const { jobId, owner, cpusMilli, memoryMib } = candidate;
    const dispatch = { jobId, epoch: candidate.epoch + 1, host, ticket: randomUUID() };
    try {
      const amount = { cpusMilli, memoryMib, ...(diskMib === undefined ? {} : { diskMib }) };
      await this.#o.resources.semaphore.reserve({ ...dispatch, owner, ...amount, endsBy, limits, isNew });
    } catch (error) {
      if (isRefusal(error, 'already_reserved')) await this.#correct(candidate);
      if (isRefusal(error)) return null;
      throw error;
    }
    return { ...dispatch, diskMib: diskMib ?? null };
  }

  /** The steps after the first. @returns false when the job is none that waits, and its reservation is taken back */
  async carryOn(job: Pick<Candidate, 'jobId' | 'epoch'>, reserved: Reserved): Promise<boolean> {
    const { jobId, host, diskMib } = reserved;
    if (!(await this.#take(job, host, diskMib))) {
      // Claimed by its host: then the row is the host's, and the answer to the compare-and-set was lost.
      await this.takeBack(reserved);
      await this.#correct(job);
      return false;
    }
    await this.finish(reserved);
    this.#o.resources.announcements.announce(jobId, host);
    return true;
  }

  /**
   * The steps after a row was taken.
   * @param again something may be in the host's queue already; what waits or runs there stays
   */
  async finish(dispatch: TakenDispatch, again = false): Promise<void> {
    // guard: withdrawn-before-handed-over
    await this.#o.resources.queue.withdraw(dispatch.jobId);
    await this.#handOver(dispatch, again);
  }

  /** Undoes the first step. @returns false when there was nothing to take back, or the host has claimed it */
  async takeBack(reservation: Omit<TakenDispatch, 'host'> & { readonly ticket: string }): Promise<boolean> {
    try {
      return await this.#o.resources.semaphore.revoke(
        reservation.jobId,
        reservation.epoch,
        reservation.ticket,
      );
    } catch (error) {
      if (isRefusal(error, 'already_claimed')) return false;
      throw error;
    }
  }

  async #take(
    { jobId, epoch }: Pick<Candidate, 'jobId' | 'epoch'>,
    host: string,
    diskMib: number | null,
  ): Promise<boolean> {
    const take = () => this.#o.lifecycle.taken({ id: jobId, epoch }, host, ACTOR, diskMib);
    if (await take()) return true;
    // The queue holds it, so `queued` is true: the API was only slower to say so.
    const queued = await this.#o.lifecycle.queued(jobId, ACTOR);
    return queued !== null && (await take()) !== null;
  }

  async #handOver({ jobId, epoch, host }: TakenDispatch, again: boolean): Promise<void> {
    const id = dispatchId(jobId, epoch);
    const queue = this.#o.resources.queues.run(host);
    if (again) {
      if (!GONE.has(await queue.getJobState(id))) return;
      await queue.remove(id);
    }
    await queue.add('dispatch', { jobId, epoch }, { jobId: id });
  }

  /** The queue's entry is out of date: the job waits no more, or was dispatched and came back since. */
  async #correct(candidate: Pick<Candidate, 'jobId' | 'epoch'>): Promise<void> {
    const row = await this.#o.queries.get(candidate.jobId);
    if (!row || !isWaiting(row.status)) await this.#o.resources.queue.withdraw(candidate.jobId);
    else if (row.epoch !== candidate.epoch) await this.#o.resources.queue.enqueue(row);
  }
}
