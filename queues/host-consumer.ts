/**
 * Takes dispatches from a host's queue and hands each to the processor, once in a process: a second pickup (BullMQ
 * gives an entry out again when its lock was lost, regardless of `attempts`) joins the first. Nothing that
 * BullMQ does or says ends a container: not a lost lock, not a lost Redis, not a restart of this worker.
 */
import { type Job as BullJob, WaitingError, Worker } from 'bullmq';
import { messageOf } from '../src/errors.ts';
import { dispatchId } from '../src/ids.ts';
import { once } from '../src/lifecycle/once.ts';
import type { Logger } from '../src/observability/logger.ts';
import { within } from '../src/timing/within.ts';
import { connect, disconnect } from './connection.ts';
import { QueueName } from './keys.ts';
import type { Dispatch } from './queues.ts';
import type { QueueResources } from './resources.ts';

/** What became of a dispatch, for people who look at the queue. Also a failed command's: BullMQ's `failed` is ours. */
export interface Outcome {
  readonly status: string;
  readonly exitCode: number | null;
}

export interface DispatchContext {
  /** Aborted when this process hands its jobs to a successor: stop watching, end nothing. */
  readonly detached: AbortSignal;
}

export type OnDispatch = (dispatch: Dispatch, context: DispatchContext) => Promise<Outcome>;

export interface HostConsumerOptions {
  readonly resources: QueueResources;
  readonly host: string;
  readonly concurrency: number;
  readonly onDispatch: OnDispatch;
  readonly logger: Logger;
  /** Time between two canaries, ms. Default 10,000. */
  readonly canaryEveryMs?: number;
  /** A canary that takes longer means that the BullMQ worker is stuck, ms. Default 30,000. */
  readonly canaryLateMs?: number;
}

export interface HostConsumer {
  /** Dispatches that this process holds now. */
  readonly held: readonly Dispatch[];
  /**
   * Supervises a dispatch that was found running (adopted), so that a pickup of the same joins it. Runs `work` unless
   * this process holds the dispatch already.
   */
  adopt(dispatch: Dispatch, work: (context: DispatchContext) => Promise<Outcome>): Promise<Outcome>;
  /** Takes nothing new; what is held goes on. */
  pause(): Promise<void>;
  /** Puts what is held back for a successor and closes, in milliseconds. May be called twice. */
  detach(): Promise<void>;
}

const CANARY = 'canary';
const CLOSE_MS = 2_000;
/** Outcomes of this process that are kept. */
const REMEMBERED = 1_000;

export function startHostConsumer(options: HostConsumerOptions): HostConsumer {
  const consumer = new Consumer(options);
  consumer.start();
  return consumer;
}

class Consumer implements HostConsumer {
  readonly #o: HostConsumerOptions;
  readonly #held = new Map<string, { dispatch: Dispatch; outcome: Promise<Outcome> }>();
  readonly #finished = new Map<string, Outcome>();
  readonly #detached = new AbortController();
  readonly #detaching: Promise<'detached'>;
  readonly #connection;
  #worker: Worker | undefined;
  #retired: Worker[] = [];
  #busy = 0;
  #paused = false;
  #canary: { sentAt: number } | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: HostConsumerOptions) {
    this.#o = options;
    this.#connection = connect(options.resources.redisUrl, 'worker', options.logger);
    this.#detaching = new Promise((resolve) => {
      this.#detached.signal.addEventListener('abort', () => resolve('detached'), { once: true });
    });
  }

  get held(): readonly Dispatch[] {
    return [...this.#held.values()].map(({ dispatch }) => dispatch);
  }

  start(): void {
    this.#worker = this.#createWorker();
    this.#timer = setInterval(() => void this.#checkCanary(), this.#o.canaryEveryMs ?? 10_000);
    this.#timer.unref();
  }

  adopt(dispatch: Dispatch, work: (context: DispatchContext) => Promise<Outcome>): Promise<Outcome> {
    const id = dispatchId(dispatch.jobId, dispatch.epoch);
    const held = this.#held.get(id);
    // guard: second-pickup
    if (held) return held.outcome;
    const outcome = (async () => {
      try {
        return await work({ detached: this.#detached.signal });
      } finally {
        this.#held.delete(id);
      }
    })();
    this.#held.set(id, { dispatch, outcome });
    return outcome;
  }

  async pause(): Promise<void> {
    this.#paused = true;
    await this.#worker?.pause(true);
  }

  readonly detach = once(async (): Promise<void> => {
    clearInterval(this.#timer);
    const workers = [this.#worker, ...this.#retired].filter((worker) => worker !== undefined);
    // First no more fetching, or this process would pick up again what it puts back.
    await Promise.all(workers.map((worker) => worker.pause(true)));
    this.#detached.abort();
    await Promise.all(workers.map(close));
    await disconnect(this.#connection);
  });

  #createWorker(): Worker<Dispatch, Outcome | null> {
    const { resources, host, concurrency, logger } = this.#o;
    const worker = new Worker<Dispatch, Outcome | null>(
      QueueName.run(host),
      (job, token) => this.#process(job, token ?? ''),
      {
        connection: this.#connection,
        prefix: resources.keys.prefix,
        concurrency,
        lockDuration: 120_000,
        stalledInterval: 15_000,
        // A stalled entry is picked up again and joined; failing it would be a lie about a container that lives.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        runRetryDelay: 1_000,
        drainDelay: 5,
      },
    );
    worker.on('error', (error) => logger.debug({ err: error, host }, 'queue worker'));
    worker.on('failed', (job, error) =>
      logger.error({ err: error, dispatch: job?.id, host }, 'the dispatch failed on our side'),
    );
    worker.on('lockRenewalFailed', (ids) =>
      logger.warn({ dispatches: ids, host }, 'locks were lost; the containers go on'),
    );
    return worker;
  }

  async #process(job: BullJob<Dispatch, Outcome | null>, token: string): Promise<Outcome | null> {
    if (job.name === CANARY) {
      this.#canary = null;
      return null;
    }
    const { jobId, epoch } = job.data;
    const id = dispatchId(jobId, epoch);
    // A second pickup may come just after the end of the first: the same entry gets the same answer. An entry that the
    // sweeper made anew, because nobody had claimed the dispatch, has another time.
    const entry = `${id}@${job.timestamp}`;
    const finished = this.#finished.get(entry);
    // guard: late-pickup
    if (finished) return finished;
    // A fetch that was under way when this worker was paused still brings an entry; it goes back.
    const takes = !this.#detached.signal.aborted && (!this.#paused || this.#held.has(id));
    if (takes) {
      this.#busy += 1;
      try {
        const work = this.adopt(job.data, (context) => this.#o.onDispatch({ jobId, epoch }, context));
        const outcome = await Promise.race([work, this.#detaching]);
        if (outcome !== 'detached' && !this.#detached.signal.aborted) return this.#remember(entry, outcome);
      } finally {
        this.#busy -= 1;
      }
    }
    await job.moveToWait(token).catch((error: unknown) => {
      // Redis is away: the entry stalls instead, and the successor gets it when the lock has ended.
      this.#o.logger.warn({ dispatch: job.id, reason: messageOf(error) }, 'could not put the dispatch back');
    });
    throw new WaitingError();
  }

  #remember(entry: string, outcome: Outcome): Outcome {
    this.#finished.set(entry, outcome);
    const [oldest] = this.#finished.keys();
    if (this.#finished.size > REMEMBERED && oldest !== undefined) this.#finished.delete(oldest);
    return outcome;
  }

  /**
   * A BullMQ worker can stop fetching for good after an outage without a word. So an entry that costs nothing goes
   * through the queue now and then; when it is not taken though there is a free place, a new worker replaces this one.
   */
  async #checkCanary(): Promise<void> {
    const { resources, host, concurrency, logger, canaryLateMs = 30_000 } = this.#o;
    if (this.#paused || resources.connection.status !== 'ready' || this.#busy >= concurrency) {
      this.#canary = null;
      return;
    }
    if (this.#canary) {
      if (performance.now() - this.#canary.sentAt < canaryLateMs) return;
      logger.error({ host }, 'the queue worker is stuck; replacing it');
      this.#canary = null;
      // guard: canary
      this.#replaceWorker();
      return;
    }
    const sent = { sentAt: performance.now() };
    this.#canary = sent;
    try {
      // Ahead of the dispatches that wait for a place. One entry at most: an unfinished one of that id is kept.
      await resources.queues
        .run(host)
        .add(
          CANARY,
          { jobId: '', epoch: 0 },
          { jobId: CANARY, lifo: true, removeOnComplete: true, removeOnFail: true },
        );
    } catch (error) {
      logger.debug({ err: error, host }, 'no canary was sent');
      if (this.#canary === sent) this.#canary = null;
    }
  }

  #replaceWorker(): void {
    const old = this.#worker;
    this.#worker = this.#createWorker();
    if (!old) return;
    // It keeps renewing the locks of what it holds, and ends with the last of them.
    this.#retired.push(old);
    const forget = (): void => {
      this.#retired = this.#retired.filter((worker) => worker !== old);
    };
    void old.close().then(forget, forget);
  }
}

/** Without waiting for an absent Redis. */
async function close(worker: Worker): Promise<void> {
  const closed = worker.close().catch(() => undefined);
  if ((await within(closed, CLOSE_MS, 'late')) === 'late') worker.disconnect().catch(() => undefined);
}
