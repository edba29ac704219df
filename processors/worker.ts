/**
 * The worker of one host: takes dispatches from the host's queue, supervises them, keeps the host's lease, and takes
 * its turn as dispatcher. It can be killed at any moment; the next one of the same name goes on.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { Dispatcher } from '../queues/dispatcher.ts';
import { Heartbeat } from '../queues/heartbeat/heartbeat.ts';
import { type HostConsumer, startHostConsumer } from '../queues/host-consumer.ts';
import type { QueueResources } from '../queues/resources.ts';
import { isRefusal } from '../queues/semaphore/refusal.ts';
import type { BeatAnswer, Hold } from '../queues/semaphore/semaphore.ts';
import type { ArtifactStore } from '../src/artifacts/artifact-store.ts';
import { type Config, ConfigError } from '../src/config.ts';
import type { ContainerRuntime } from '../src/containers/runtime.ts';
import { CapacityConflict, type KnexHostStore } from '../src/database/host-store.ts';
import { sandboxName } from '../src/ids.ts';
import { amountOf } from '../src/jobs/amount.ts';
import type { Job } from '../src/jobs/job.ts';
import type { JobStore } from '../src/jobs/store.ts';
import { once } from '../src/lifecycle/once.ts';
import { type Lock, LockHeld, wrestLock } from '../src/files/lock.ts';
import { stopInOrder } from '../src/lifecycle/stop-in-order.ts';
import type { LogStore } from '../src/logs/log-store.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { TenantRegistry } from '../src/tenants/tenants.ts';
import type { SnapshotStore } from '../src/uploads/snapshot-store.ts';
import { Cleaner, type CleanerResources } from './cleaner.ts';
import { hostCapacity, readBootId } from './host-facts.ts';
import { HostJournal } from './host-journal.ts';
import { ImagePulls } from './image-pulls.ts';
import type { SupervisionResources } from './resources.ts';
import { Supervisor } from './supervisor.ts';

export interface WorkerResources extends Pick<CleanerResources, 'uploads'> {
  readonly logs: LogStore;
  readonly artifacts: ArtifactStore;
  readonly snapshots: SnapshotStore;
  readonly config: Config;
  readonly logger: Logger;
  readonly store: JobStore;
  readonly hosts: KnexHostStore;
  readonly tenants: TenantRegistry;
  readonly runtime: ContainerRuntime;
  readonly queues: QueueResources;
  /** One minute of a job's timeout, milliseconds; 60,000 but in tests. */
  readonly minuteMs?: number;
}

/** A dispatch normally arrives through the queue within milliseconds; one that is older is looked after without it. */
const SETTLED_MS = 5_000;
/** Announcements may be lost; how often the rows of held jobs are read all the same. */
const LOOK_EVERY_MS = 1_000;
const REGISTER_EVERY_MS = 1_000;
const RELEASE_EVERY_MS = 1_000;
const IMAGES_EVERY_MS = 1_000;
/** A process that was told to let go of the name needs some milliseconds for it, unless it hangs. */
const LET_GO_MS = 5_000;

export class Worker {
  readonly #r: WorkerResources;
  readonly #host: string;
  readonly #capacity;
  readonly #minuteMs: number;
  readonly #supervisor: Supervisor;
  readonly #journal: HostJournal;
  readonly #dispatcher: Dispatcher;
  readonly #cleaner: Cleaner;
  readonly #heartbeat: Heartbeat;
  readonly #images: ImagePulls;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[] = [];
  readonly #unreleased = new Map<string, { jobId: string; epoch: number }>();
  readonly #fenced = Promise.withResolvers<void>();
  #lock: Lock | null = null;
  #generation: number | null = null;
  /** What Redis has asked for and not got yet. */
  #owed: 'register' | 'synchronise' | null = 'register';
  #registrations = 0;
  #registering = false;
  #synchronising = false;
  #draining = false;
  #fencedAlready = false;
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
      tenants: resources.tenants,
      passingMs: config.passingSeconds * 1000,
      host: this.#host,
      logger,
      hostLostMs: config.hostLostSeconds * 1000,
      leaseMs: config.leaseSeconds * 1000,
      reconcileMs: config.reconcileSeconds * 1000,
      tell: (job, line) => this.#tell(job, line),
    });
    this.#cleaner = new Cleaner({ ...resources });
    this.#images = new ImagePulls({
      runtime,
      board: queues.images,
      host: this.#host,
      limitMs: config.startTimeoutSeconds * 1000,
      logger,
    });
    this.#heartbeat = new Heartbeat({
      redisUrl: queues.redisUrl,
      prefix: queues.keys.prefix,
      host: this.#host,
      everyMs: config.heartbeatSeconds * 1000,
      onAnswer: (answer) => this.#onBeat(answer),
      logger,
    });
    this.#supervisor = new Supervisor({
      config,
      logger,
      store,
      runtime,
      journal: this.#journal,
      host: this.#host,
      bootId: readBootId(),
      logs: resources.logs,
      artifacts: resources.artifacts,
      snapshots: resources.snapshots,
      claim: (jobId, epoch) => this.#claim(jobId, epoch),
      owns: () => this.#owns(),
      pulled: (image) => this.#images.pulled(image),
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

  /**
   * Makes this process the only one of its host's name, adopts what runs and begins to take work. Does not wait for
   * Redis. @throws ConfigError when another host of this machine, or a process that can't be ended, is in the way
   */
  readonly start = once(async (): Promise<void> => {
    await this.#enterName();
    this.#unsubscribe = this.#r.queues.queue.subscribeHost(this.#host, (jobId) => {
      if (jobId !== '') this.#supervisor.look(jobId);
      // Redis was restarted: nothing comes until this host has synchronised, so don't wait for the next heartbeat.
      // Or a newer process has taken the name over, which the heartbeat will tell.
      else this.#heartbeat.now();
    });
    const unsubscribeLooks = this.#unsubscribe;
    const unsubscribeImages = this.#r.queues.queue.subscribeImages(this.#host, () => {
      this.#lookForImages().catch(() => undefined); // the loop looks all the same
    });
    this.#unsubscribe = () => {
      unsubscribeLooks();
      unsubscribeImages();
    };
    // A predecessor that lives hears of it by this, and lets go.
    this.#loops.push(this.#loop(REGISTER_EVERY_MS, () => this.#register()));
    await this.#takeLock();
    await this.#journal.open();
    await this.#reconcile().catch((error: unknown) => {
      this.#r.logger.error(
        { err: error },
        'what this host holds could not be looked at; the next reconciliation will',
      );
    });
    this.#loops.push(
      this.#loop(REGISTER_EVERY_MS, () => this.#synchronise()),
      this.#loop(this.#r.config.reconcileSeconds * 1000, async () => {
        await this.#readDraining();
        await this.#reconcile();
      }),
      this.#loop(LOOK_EVERY_MS, () => Promise.resolve(this.#supervisor.lookAtAll())),
      this.#loop(IMAGES_EVERY_MS, () => this.#lookForImages()),
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
        ['lease', () => this.#endLease()],
        ['dispatcher', () => this.#dispatcher.stop()],
        // First the entries go back to the queue; a supervision that let go before would count as failed there.
        ['consumer', () => this.#consumer?.detach()],
        ['supervisor', () => this.#supervisor.detach()],
        ['loops', () => Promise.all(this.#loops)],
        ['pulls', () => this.#images.stop()],
        ['heartbeat', () => this.#heartbeat.stop()],
        // Without Redis the next worker's synchronisation finds what was not released.
        ['releases', () => this.#releaseAll().catch(() => undefined)],
        ['cleaner', () => this.#cleaner.stop()],
        ['lock', () => this.#lock?.release()],
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
    if (this.#fencedAlready) return;
    this.#fencedAlready = true;
    this.#r.logger.error({ host: this.#host }, 'a newer worker owns this host name');
    this.#fenced.resolve();
    this.#stopping.abort();
    // The entries first, as in `stop`. The successor waits for the lock.
    void Promise.resolve(this.#consumer?.detach())
      .catch(() => undefined)
      .then(() => this.#supervisor.detach())
      .then(() => this.#lock?.release());
  }

  /** @throws ConfigError when another host of this machine offers the same cpus and memory */
  async #enterName(): Promise<void> {
    const { cpus, memoryGb } = this.#r.config;
    const explicit = cpus !== undefined && memoryGb !== undefined;
    try {
      await this.#r.hosts.registerWorker(this.#host, this.#capacity, explicit);
    } catch (cause) {
      if (!(cause instanceof CapacityConflict)) throw cause;
      throw new ConfigError(
        `the host ${cause.other} runs on this machine already, and two hosts may not offer the same cpus and memory\n  Say which part each of them has with FLASHPODS_CPUS and FLASHPODS_MEMORY_GB, for ${cause.other} and for ${this.#host}, or end ${cause.other}.`,
        { cause },
      );
    }
    await this.#readDraining();
  }

  /** At hand for a registration, which must not wait for the database. A host that was removed is not drained. */
  async #readDraining(): Promise<void> {
    this.#draining = (await this.#r.hosts.get(this.#host))?.draining === true;
  }

  /** @throws ConfigError when the process that has it can't be ended */
  async #takeLock(): Promise<void> {
    try {
      this.#lock = await wrestLock(join(this.#r.config.dataDir, 'hosts', this.#host, 'holder'), {
        patienceMs: LET_GO_MS,
        logger: this.#r.logger,
        signal: this.#stopping.signal,
      });
    } catch (cause) {
      if (!(cause instanceof LockHeld)) throw cause;
      throw new ConfigError(`the host name ${this.#host} is in use: ${cause.message}; end that one first`, {
        cause,
      });
    }
  }

  /** So that nothing more is sent to this host until its next worker has come. */
  async #endLease(): Promise<void> {
    if (this.#generation === null || this.#fencedAlready) return;
    // Without Redis, or when it has a newer owner, there is no lease of this worker to be ended.
    await this.#r.queues.semaphore.leave(this.#host, this.#generation).catch(() => undefined);
  }

  #onBeat(answer: BeatAnswer | 'fenced'): void {
    if (answer === 'fenced') return this.#onFenced();
    if (this.#stopping.signal.aborted) return;
    if (answer === 'ok' || this.#owed === 'register') return;
    this.#owed = answer;
    const registered = answer === 'register' ? this.#register() : Promise.resolve();
    const work = registered.then(() => this.#synchronise());
    work.catch((error: unknown) => {
      if (isRefusal(error, 'fenced')) this.#onFenced();
      else this.#r.logger.warn({ err: error }, 'the host is not ready for work yet; it tries again');
    });
  }

  /** At the start, and when Redis has forgotten this host. Apart from {@link #synchronise}, which waits for Podman. */
  async #register(): Promise<void> {
    if (this.#owed !== 'register' || this.#registering) return;
    this.#registering = true;
    try {
      const leaseMs = this.#r.config.leaseSeconds * 1000;
      this.#generation = await this.#r.queues.semaphore.register(
        this.#host,
        this.#capacity,
        leaseMs,
        this.#generation,
        { draining: this.#draining, pulls: true },
      );
    } finally {
      this.#registering = false;
    }
    this.#registrations += 1;
    this.#owed = 'synchronise';
    this.#heartbeat.begin(this.#generation);
  }

  /** Says what this host holds; before that it gets no work. */
  async #synchronise(): Promise<void> {
    const generation = this.#generation;
    if (this.#owed !== 'synchronise' || this.#synchronising || generation === null || !this.#lock) return;
    this.#synchronising = true;
    const registration = this.#registrations;
    try {
      const foreign = await this.#r.queues.semaphore.sync(this.#host, generation, async () => {
        const { hosted, endsForeign } = await this.#supervisor.reconcile(SETTLED_MS);
        // Its cpus and memory are in nobody's sums, so nothing may start beside it: the next second tries again.
        // guard: foreign-ends-first
        if (endsForeign) throw new Error('what this host has lost is still being ended');
        const held = hosted.map(({ job, found }) => ({ ...this.#hold(job), found }));
        // Redis has lost its data since, and with them what was released while the list was made.
        if (this.#registrations !== registration) throw new Error('registered anew meanwhile');
        return held;
      });
      if (this.#registrations === registration && this.#owed === 'synchronise') this.#owed = null;
      if (foreign.length > 0) await this.#reconcile();
    } finally {
      this.#synchronising = false;
    }
    if (this.#stopping.signal.aborted) return;
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

  /**
   * Whether this process is still the one that may start containers of its host, by what Redis says now. While Redis
   * is away it is: another process of this machine would have had to take the lock.
   */
  async #owns(): Promise<boolean> {
    if (this.#fencedAlready || this.#generation === null) return !this.#fencedAlready;
    try {
      await this.#r.queues.semaphore.beat(this.#host, this.#generation);
    } catch (error) {
      if (!isRefusal(error, 'fenced')) return true;
      this.#onFenced();
      return false;
    }
    return true;
  }

  /** Into the log of a job that never came to a host. */
  async #tell(job: Job, line: string): Promise<void> {
    const { config, runtime, logger } = this.#r;
    try {
      const log = await this.#r.logs.capture({
        jobId: job.id,
        spoolPath: runtime.spoolPath(sandboxName(job.id, job.epoch)),
        maxBytes: config.logMaxMb * 2 ** 20,
        onTrouble: (error) => logger.warn({ err: error, job_id: job.id }, 'the log can not be written'),
      });
      log.system(line);
      await log.finish();
      await log.close();
    } catch (error) {
      logger.warn({ err: error, job_id: job.id }, 'the log can not be written; the row says the same');
    }
  }

  async #lookForImages(): Promise<void> {
    if (this.#generation === null || !this.#lock || this.#stopping.signal.aborted) return;
    await this.#images.look(this.#generation);
  }

  async #reconcile(): Promise<void> {
    await this.#supervisor.reconcile(SETTLED_MS);
  }

  #hold(job: Job): Hold {
    return {
      jobId: job.id,
      epoch: job.epoch,
      owner: job.owner,
      ...amountOf(job),
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
