/** Why a job ends: decided once, by the first reason that is written down, in whichever process. */
import type { Job } from '../src/jobs/job.ts';
import type { JobLifecycle } from '../src/jobs/lifecycle.ts';
import type { JobQueries } from '../src/jobs/queries.ts';
import { type EndingReason, isHosted } from '../src/jobs/states.ts';
import type { JobPatch } from '../src/jobs/store.ts';

/** Somebody asked for the end of a job of which only its artifacts were still to be collected. */
export class CollectingCancelled extends Error {
  constructor() {
    super('the collection of the artifacts was cancelled');
  }
}

/** What is collected this soon is collected, also when somebody asked for the job's end in the moment of its exit. */
const COLLECTED_ANYWAY_MS = 5_000;

export interface EndingOptions {
  readonly lifecycle: Pick<JobLifecycle, 'endingDecided'>;
  readonly queries: Pick<JobQueries, 'get'>;
  readonly job: Job;
  /** Who decides, for the event. */
  readonly actor: string;
  /** Tries until the database answers. */
  readonly ask: <T>(what: string, work: () => Promise<T>) => Promise<T>;
}

export class Ending {
  readonly #o: EndingOptions;
  readonly #decided = new AbortController();
  #reason: EndingReason | null = null;
  /** When its end was asked for last, as the row says it. */
  #cancelSeen: number | null;
  #collecting: { readonly start: number; readonly stop: AbortController } | null = null;

  constructor(options: EndingOptions) {
    this.#o = options;
    this.#cancelSeen = options.job.cancelRequestedAt;
    if (options.job.endingReason !== null) this.#note(options.job.endingReason);
  }

  /** When its end was asked for last, as far as this process knows. */
  get cancelSeen(): number | null {
    return this.#cancelSeen;
  }

  /** What an earlier process had seen when the job exited; what its row says since was asked for while it was collected. */
  goOn(cancelSeen: number | null): void {
    this.#cancelSeen = cancelSeen;
  }

  /** The one in force; null while the job is to run. */
  get reason(): EndingReason | null {
    return this.#reason;
  }

  /** Aborted as soon as there is a reason. */
  get decided(): AbortSignal {
    return this.#decided.signal;
  }

  /**
   * Somebody may have changed the row: looks whether the job is to end. Never throws.
   * @param known the row of this dispatch as it was read just now; without it the row is read
   */
  async look(known?: Job): Promise<void> {
    if (this.#reason !== null && this.#collecting === null) return;
    const { queries, job } = this.#o;
    const row = known ?? (await queries.get(job.id).catch(() => 'unknown' as const));
    if (row === 'unknown') return;
    // The row has moved on without this host: what runs here belongs to nobody any more.
    if (row?.epoch !== job.epoch || !isHosted(row.status)) this.#note('lost');
    else {
      if (row.endingReason !== null) this.#note(row.endingReason);
      // Another time than the one that was seen: the clocks of two machines need not agree on which is later.
      const isAskedAnew = row.cancelRequestedAt !== this.#cancelSeen;
      this.#cancelSeen = row.cancelRequestedAt;
      if (this.#collecting !== null && isAskedAnew) {
        const { start, stop } = this.#collecting;
        const left = start + COLLECTED_ANYWAY_MS - performance.now();
        setTimeout(() => stop.abort(new CollectingCancelled()), Math.max(0, left)).unref();
      }
    }
  }

  /** From here on its artifacts are collected. @returns aborted when somebody asks for its end (again) and it takes long */
  collecting(): AbortSignal {
    this.#collecting ??= { start: performance.now(), stop: new AbortController() };
    return this.#collecting.stop.signal;
  }

  /** Writes the reason down, if it is the first. @returns the one in force */
  async decide(
    reason: EndingReason,
    patch: Pick<JobPatch, 'endedAt' | 'error' | 'errorCode' | 'errorMessage'> = {},
  ): Promise<EndingReason> {
    if (this.#reason !== null) return this.#reason;
    const { lifecycle, queries, job, actor, ask } = this.#o;
    const inForce = await ask('deciding the ending', async () => {
      const first = await lifecycle.endingDecided(job.id, reason, actor, { epoch: job.epoch, patch });
      return first ? reason : ((await queries.get(job.id))?.endingReason ?? reason);
    });
    this.#note(inForce);
    return inForce;
  }

  #note(reason: EndingReason): void {
    this.#reason ??= reason;
    this.#decided.abort();
  }
}
