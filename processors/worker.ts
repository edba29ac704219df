/**
 * The worker of one host: takes dispatches from the host's queue, supervises them, keeps the host's lease, and takes
 * its turn as dispatcher. It can be killed at any moment; the next one of the same name goes on.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { Dispatcher } from '../queues/dispatcher.ts';
import { type HostConsumer, startHostConsumer } from '../queues/host-consumer.ts';
import type { QueueResources } from '../queues/resources.ts';
import { isRefusal } from '../queues/semaphore/refusal.ts';
import type { Hold } from '../queues/semaphore/semaphore.ts';
import type { Config } from '../src/config.ts';
import type { ContainerRuntime } from '../src/containers/runtime.ts';
import type { KnexHostStore } from '../src/database/host-store.ts';
import type { Job } from '../src/jobs/job.ts';
import type { JobStore } from '../src/jobs/store.ts';
import { once } from '../src/lifecycle/once.ts';
import { stopInOrder } from '../src/lifecycle/stop-in-order.ts';
import type { Logger } from '../src/observability/logger.ts';
import { Cleaner, type CleanerResources } from './cleaner.ts';
import { hostCapacity, readBootId } from './host-facts.ts';
import { HostJournal } from './host-journal.ts';
import type { SupervisionResources } from './resources.ts';
import { Supervisor } from './supervisor.ts';

export interface WorkerResources extends Pick<
  CleanerResources,
  'storedLogs' | 'deleteLog' | 'storedArtifacts' | 'deleteArtifacts' | 'sweepUploads'
> {
  readonly config: Config;
  readonly logger: Logger;
  readonly store: JobStore;
  readonly hosts: KnexHostStore;
  readonly runtime: ContainerRuntime;
  readonly queues: QueueResources;
  snapshotPath(uploadId: string): string;
  /** One minute of a job's timeout, milliseconds; 60,000 but in tests. */
  readonly minuteMs?: number;
}

/** A dispatch normally arrives through the queue within milliseconds; one that is older is looked after without it. */
const SETTLED_MS = 5_000;
/** Announcements may be lost; how often the rows of held jobs are read all the same. */
const LOOK_EVERY_MS = 1_000;
const REGISTER_EVERY_MS = 1_000;
const RELEASE_EVERY_MS = 1_000;

export class Worker {
  readonly #r: WorkerResources;
  readonly #host: string;
  readonly #capacity;
  readonly #minuteMs: number;
  readonly #supervisor: Supervisor;
  readonly #journal: HostJournal;
  readonly #dispatcher: Dispatcher;
  readonly #cleaner: Cleaner;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[] = [];
  readonly #unreleased = new Map<string, { jobId: string; epoch: number }>();
  readonly #fenced = Promise.withResolvers<void>();
  #generation: number | null = null;
  #beating: Promise<void> | null = null;
  #consumer: HostConsumer | undefined;
  #unsubscribe: () => void = () => undefined;

  constructor(resources: WorkerResources) {
    const { config, logger, store, queues, runtime } = resources;
    this.#r = resources;
    this.#host = config.hostName;
    this.#capacity = hostCapacity(config);
    this.#minuteMs = resources.minuteMs ?? 60_000;
    this.#journal = new HostJournal(join(config.dataDir, 'hosts', this.#host, 'journal'));
    this.#dispatcher = new Dispatcher({
      resources: queues,
      store,
      hosts: resources.hosts,
      host: this.#host,
      logger,
      hostLostMs: config.hostLostSeconds * 1000,
      leaseMs: config.leaseSeconds * 1000,
      reconcileMs: config.reconcileSeconds * 1000,
    });
    this.#cleaner = new Cleaner({ ...resources });
    this.#supervisor = new Supervisor({
      config,
      logger,
      store,
      runtime,
      journal: this.#journal,
      host: this.#host,
      bootId: readBootId(),
      snapshotPath: (id) => resources.snapshotPath(id),
      claim: (jobId, epoch) => this.#claim(jobId, epoch),
      release: (jobId, epoch) => this.#release(jobId, epoch),
      announce: (jobId, host) => queues.queue.announce(jobId, host),
      requeue: (job) => queues.queue.enqueue(job),
      started: (job) => {
        const { id, epoch } = job;
        void queues.semaphore.bound(id, epoch, this.#latestEnd(job)).catch((error: unknown) => {
          logger.debug({ err: error, job_id: id }, 'dispatch goes on planning with the looser bound');
        });
      },
      inTurn: pLimit(availableParallelism() * 2),
      minuteMs: this.#minuteMs,
    });
  }

  /** Settles when a newer worker has taken this host's name over: this one has stopped acting and should be ended. */
  get fenced(): Promise<void> {
    return this.#fenced.promise;
  }

  /** Adopts what runs, registers the host and begins to take work. Does not wait for Redis. */
  readonly start = once(async (): Promise<void> => {
    await this.#journal.open();
    await this.#r.hosts.register(this.#host, this.#capacity);
    this.#unsubscribe = this.#r.queues.queue.subscribeHost(this.#host, (jobId) => {
      if (jobId !== '') this.#supervisor.look(jobId);
      // Redis was restarted: nothing comes until this host has synchronised, so don't wait for the next heartbeat.
      // Or a newer process has taken the name over, which the heartbeat will tell.
      else
        void this.#beat().catch((error: unknown) => {
          if (isRefusal(error, 'fenced')) this.#onFenced();
        });
    });
    await this.#reconcile().catch((error: unknown) => {
      this.#r.logger.error(
        { err: error },
        'what this host holds could not be looked at; the next reconciliation will',
      );
    });
    this.#loops.push(
      this.#loop(this.#r.config.heartbeatSeconds * 1000, () => this.#beat()),
      this.#loop(this.#r.config.reconcileSeconds * 1000, () => this.#reconcile()),
      this.#loop(LOOK_EVERY_MS, () => Promise.resolve(this.#supervisor.lookAtAll())),
      this.#loop(RELEASE_EVERY_MS, () => this.#releaseAll()),
    );
    this.#cleaner.start();
    this.#dispatcher.start();
  });

  /** Takes nothing new and lets go; containers run on, and the next worker of this host adopts them. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping.abort();
    this.#unsubscribe();
    await stopInOrder(
      [
        ['dispatcher', () => this.#dispatcher.stop()],
        // First the entries go back to the queue; a supervision that let go before would count as failed there.
        ['consumer', () => this.#consumer?.detach()],
        ['supervisor', () => this.#supervisor.detach()],
        ['loops', () => Promise.all(this.#loops)],
        // Without Redis the next worker's synchronisation finds what was not released.
        ['releases', () => this.#releaseAll().catch(() => undefined)],
        ['cleaner', () => this.#cleaner.stop()],
      ],
      this.#r.logger,
    );
  });

  async #loop(everyMs: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let waitMs = everyMs;
      try {
        await work();
      } catch (error) {
        if (isRefusal(error, 'fenced')) return this.#onFenced();
        this.#r.logger.warn({ err: error }, 'a round of the worker failed; the next one tries again');
        waitMs = Math.min(everyMs, REGISTER_EVERY_MS);
      }
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }

  #onFenced(): void {
    this.#r.logger.error({ host: this.#host }, 'a newer worker owns this host name');
    this.#fenced.resolve();
    // The entries first, as in `stop`.
    void Promise.resolve(this.#consumer?.detach())
      .catch(() => undefined)
      .then(() => this.#supervisor.detach());
  }

  /** One heartbeat at a time: whoever asks while one is under way joins it. */
  #beat(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => (this.#beating = null));
    return this.#beating;
  }

  /** Heartbeat; after a start or when Redis has forgotten this host also registration and synchronisation. */
  async #beatOnce(): Promise<void> {
    const { semaphore } = this.#r.queues;
    const answer =
      this.#generation === null ? 'register' : await semaphore.beat(this.#host, this.#generation);
    if (answer === 'ok') return;
    if (answer === 'register') {
      const leaseMs = this.#r.config.leaseSeconds * 1000;
      this.#generation = await semaphore.register(this.#host, this.#capacity, leaseMs, this.#generation);
    }
    const generation = this.#generation;
    if (generation === null) throw new Error('registered without a generation');
    const foreign = await semaphore.sync(this.#host, generation, async () =>
      (await this.#supervisor.reconcile(SETTLED_MS)).map((job) => this.#hold(job)),
    );
    if (foreign.length > 0) await this.#reconcile();
    this.#consumer ??= startHostConsumer({
      resources: this.#r.queues,
      host: this.#host,
      // Every job reserves a cpu at least; those that are collecting hold none any more.
      concurrency: this.#r.config.concurrency ?? (this.#capacity.cpusMilli / 1000) * 2 + 4,
      onDispatch: async ({ jobId, epoch }) => {
        const result = await this.#supervisor.supervise(jobId, epoch);
        return result?.kind === 'done'
          ? { status: 'done', exitCode: result.exitCode }
          : { status: 'void', exitCode: null };
      },
      logger: this.#r.logger,
    });
    this.#r.logger.info({ host: this.#host, generation, ...this.#capacity }, 'the host is ready for work');
  }

  async #reconcile(): Promise<void> {
    await this.#supervisor.reconcile(SETTLED_MS);
  }

  #hold(job: Job): Hold {
    return {
      jobId: job.id,
      epoch: job.epoch,
      cpusMilli: job.cpus * 1000,
      memoryMib: job.memoryGb * 1024,
      endsBy: this.#latestEnd(job),
    };
  }

  /** When the job will be gone at the latest, ms since the Unix epoch; what backfill plans with. */
  #latestEnd(job: Job): number {
    const { startTimeoutSeconds, graceSeconds } = this.#r.config;
    const startsBy = job.startedAt ?? Date.now() + startTimeoutSeconds * 1000;
    return startsBy + job.timeoutMinutes * this.#minuteMs + graceSeconds * 1000;
  }

  async #claim(jobId: string, epoch: number): ReturnType<SupervisionResources['claim']> {
    if (this.#generation === null) throw new Error('this host is not registered yet');
    try {
      return await this.#r.queues.semaphore.claim(jobId, epoch, this.#host, this.#generation);
    } catch (error) {
      if (isRefusal(error, 'not_reserved')) return 'no_reservation';
      if (isRefusal(error, 'fenced')) {
        this.#onFenced();
        return 'fenced';
      }
      throw error;
    }
  }

  #release(jobId: string, epoch: number): void {
    this.#unreleased.set(`${jobId}-${epoch}`, { jobId, epoch });
    void this.#releaseAll().catch(() => undefined);
  }

  /** Tries every release that Redis has not confirmed. A synchronisation would find them as well, later. */
  async #releaseAll(): Promise<void> {
    for (const [id, { jobId, epoch }] of this.#unreleased) {
      await this.#r.queues.semaphore.release(jobId, epoch);
      this.#unreleased.delete(id);
    }
  }
}
