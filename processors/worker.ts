/**
 * The worker of one host: takes dispatches from the host's queue, supervises them, keeps the host's lease, and takes
 * its turn as dispatcher. It can be killed at any moment; the next one of the same name goes on.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { Dispatcher } from '../queues/dispatcher.ts';
import { type HostConsumer, startHostConsumer } from '../queues/host-consumer.ts';
import { isRefusal } from '../queues/semaphore/refusal.ts';
import type { Hold } from '../queues/semaphore/semaphore.ts';
import { hostDirectory } from '../src/default-directories.ts';
import type { Lock } from '../src/files/lock.ts';
import { amountOf, mibOfBytes } from '../src/jobs/amount.ts';
import type { Job } from '../src/jobs/job.ts';
import { once } from '../src/lifecycle/once.ts';
import { readBootId } from '../src/files/boot.ts';
import { stopInOrder } from '../src/lifecycle/stop-in-order.ts';
import { pause } from '../src/timing/bell.ts';
import { Cleaner } from './cleaner.ts';
import { DispatchRecords } from './dispatch-records.ts';
import { DiskRoom } from './host-disk.ts';
import { hostCapacity } from './host-facts.ts';
import { HostMembership } from './host-membership.ts';
import { HostRemovals } from './host-removals.ts';
import { enterHostName, lockHostName } from './host-name.ts';
import { ImagePulls } from './image-pulls.ts';
import { Releases } from './releases.ts';
import type { WorkerResources } from './resources.ts';
import { diskBytesOf } from './stages/launch.ts';
import { Supervisor } from './supervisor.ts';

/** A dispatch normally arrives through the queue within milliseconds; one that is older is looked after without it. */
const SETTLED_MS = 5_000;
/** Between two rounds of what is tried until it succeeds, and of looks whose announcement may be lost. */
const ROUND_MS = 1_000;
/** Between two looks at how much disk there is for jobs. */
const DISK_ROUND_MS = 2_000;
/** Between two looks at which images are here; somebody may have made one. */
const STOCK_ROUND_MS = 5_000;

export class Worker {
  readonly #r: WorkerResources;
  readonly #host: string;
  readonly #capacity;
  readonly #disk: DiskRoom;
  readonly #minuteMs: number;
  readonly #supervisor: Supervisor;
  readonly #records: DispatchRecords;
  readonly #dispatcher: Dispatcher;
  readonly #cleaner: Cleaner;
  readonly #membership: HostMembership;
  readonly #images: ImagePulls;
  readonly #removals: readonly { look(): Promise<void> }[];
  readonly #releases: Releases;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[] = [];
  readonly #subscriptions: (() => void)[] = [];
  readonly #fenced = Promise.withResolvers<void>();
  #lock: Lock | null = null;
  #isDraining = false;
  #consumer: HostConsumer | undefined;

  constructor(resources: WorkerResources) {
    const { config, logger, queues, runtime } = resources;
    this.#r = resources;
    this.#host = config.hostName;
    this.#capacity = hostCapacity(config);
    this.#disk = new DiskRoom(runtime, hostDirectory(config), config);
    this.#minuteMs = resources.minuteMs ?? 60_000;
    this.#records = new DispatchRecords(join(config.dataDir, 'hosts', this.#host, 'journal'));
    // What jobs may have of the disk changes with it; should Redis not hear of it, the next round says it.
    this.#releases = new Releases(
      queues.semaphore,
      () => void this.#membership.measure().catch(() => undefined),
    );
    this.#cleaner = new Cleaner(resources);
    this.#dispatcher = new Dispatcher({
      ...resources,
      resources: queues,
      passingMs: config.passingSeconds * 1000,
      host: this.#host,
      hostLostMs: config.hostLostSeconds * 1000,
      leaseMs: config.leaseSeconds * 1000,
      reconcileMs: config.reconcileSeconds * 1000,
      tell: (job, line) => this.#tell(job, line),
    });
    this.#images = new ImagePulls({
      runtime,
      board: queues.images,
      host: this.#host,
      limitMs: config.startTimeoutSeconds * 1000,
      isDiskFull: () => this.#disk.isFull(),
      logger,
    });
    const told = { host: this.#host, logger, sayStock: () => this.#sayStock() };
    this.#removals = [
      new HostRemovals({
        ...told,
        board: queues.imageRemovals,
        remove: (removal) => runtime.removeImage(removal),
      }),
      new HostRemovals({
        ...told,
        board: queues.cacheRemovals,
        remove: async (removal) => {
          await runtime.caches?.remove(removal);
          return 'removed';
        },
      }),
    ];
    this.#membership = new HostMembership({
      queues,
      host: this.#host,
      capacity: this.#capacity,
      disk: this.#disk,
      leaseMs: config.leaseSeconds * 1000,
      heartbeatMs: config.heartbeatSeconds * 1000,
      logger,
      isDraining: () => this.#isDraining,
      hasLock: () => this.#lock !== null,
      holds: () => this.#holds(),
      onForeign: () => this.#reconcile(),
      onMember: () => this.#takeWork(),
      onFenced: () => this.#letGo(),
    });
    this.#supervisor = new Supervisor({
      ...resources,
      records: this.#records,
      host: this.#host,
      bootId: readBootId(),
      claim: (jobId, epoch) => this.#membership.claim(jobId, epoch),
      owns: () => this.#membership.owns(),
      pulled: (image) => this.#images.pulled(image),
      release: (jobId, epoch) => this.#releases.release(jobId, epoch),
      isDiskFull: () => this.#disk.isFull(),
      settle: (jobId, epoch) => this.#releases.settle(jobId, epoch),
      announce: (jobId, host) => queues.announcements.announce(jobId, host),
      requeue: (job) => queues.queue.enqueue(job),
      cachesChanged: () => void this.#sayStock().catch(() => undefined), // the loop says it all the same
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
    const { config, hosts, logger } = this.#r;
    await enterHostName(hosts, config, { ...this.#capacity, diskMib: this.#disk.wholeMib });
    await this.#readDraining();
    this.#subscribe();
    // A predecessor that lives hears of it by this, and lets go.
    this.#loops.push(this.#loop(ROUND_MS, () => this.#membership.register()));
    this.#lock = await lockHostName(config, logger, this.#stopping.signal);
    await this.#records.open();
    await this.#reconcile().catch((error: unknown) => {
      logger.error(
        { err: error },
        'what this host holds could not be looked at; the next reconciliation will',
      );
    });
    this.#loops.push(
      this.#loop(ROUND_MS, () => this.#membership.synchronise()),
      this.#loop(config.reconcileSeconds * 1000, async () => {
        await this.#readDraining();
        await this.#supervisor.lookAtAll();
        await this.#reconcile();
      }),
      this.#loop(ROUND_MS, () => this.#lookForImages()),
      this.#loop(STOCK_ROUND_MS, () => this.#sayStock()),
      this.#loop(ROUND_MS, () => this.#releases.retry()),
      this.#loop(DISK_ROUND_MS, () => this.#membership.measure()),
    );
    this.#cleaner.start();
    this.#dispatcher.start();
  });

  /** Takes nothing new and lets go; containers run on, and the next worker of this host adopts them. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping.abort();
    for (const unsubscribe of this.#subscriptions) unsubscribe();
    await stopInOrder(
      [
        ['lease', () => this.#membership.leave()],
        ['dispatcher', () => this.#dispatcher.stop()],
        // First the entries go back to the queue; a supervision that let go before would count as failed there.
        ['consumer', () => this.#consumer?.detach()],
        ['supervisor', () => this.#supervisor.detach()],
        ['loops', () => Promise.all(this.#loops)],
        ['pulls', () => this.#images.stop()],
        ['heartbeat', () => this.#membership.stop()],
        // Without Redis the next worker's synchronisation finds what was not released.
        ['releases', () => this.#releases.retry().catch(() => undefined)],
        ['cleaner', () => this.#cleaner.stop()],
        ['lock', () => this.#lock?.release()],
      ],
      this.#r.logger,
    );
  });

  #subscribe(): void {
    const { announcements } = this.#r.queues;
    this.#subscriptions.push(
      announcements.subscribeHost(this.#host, (jobId) => {
        if (jobId !== '') this.#supervisor.look(jobId);
        // Redis was restarted: nothing comes until this host has synchronised, so don't wait for the next heartbeat.
        // Or a newer process has taken the name over, which the heartbeat will tell.
        else this.#membership.beatNow();
      }),
      announcements.subscribeImages(this.#host, () => {
        this.#lookForImages().catch(() => undefined); // the loop looks all the same
      }),
    );
  }

  async #loop(everyMs: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let waitMs = everyMs;
      try {
        await work();
      } catch (error) {
        if (isRefusal(error, 'fenced')) return this.#membership.fence();
        this.#r.logger.warn({ err: error }, 'a round of the worker failed; the next one tries again');
        waitMs = Math.min(everyMs, ROUND_MS);
      }
      await pause(waitMs, signal);
    }
  }

  /** A newer worker has the host's name, and waits for the lock. */
  #letGo(): void {
    this.#fenced.resolve();
    this.#stopping.abort();
    // The entries first, as in `stop`.
    void Promise.resolve(this.#consumer?.detach())
      .catch(() => undefined)
      .then(() => this.#supervisor.detach())
      .then(() => this.#lock?.release());
  }

  /** A host that was removed is not drained. */
  async #readDraining(): Promise<void> {
    this.#isDraining = (await this.#r.hosts.get(this.#host))?.draining === true;
  }

  async #holds(): Promise<Hold[]> {
    const { hosted, endsForeign } = await this.#supervisor.reconcile(SETTLED_MS);
    // Its cpus and memory are in nobody's sums, so nothing may start beside it: the next second tries again.
    // guard: foreign-ends-first
    if (endsForeign) throw new Error('what this host has lost is still being ended');
    return hosted.map(({ job, found }) => ({
      jobId: job.id,
      epoch: job.epoch,
      owner: job.owner,
      ...amountOf(job),
      // Of a dispatch by an older version nobody has written down what it gets of the disk.
      diskMib: mibOfBytes(diskBytesOf(this.#r.config, job)),
      endsBy: this.#latestEnd(job),
      found,
    }));
  }

  #takeWork(): void {
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
  }

  /** Into the log of a job that never came to a host. */
  async #tell(job: Job, line: string): Promise<void> {
    const { config, logger } = this.#r;
    try {
      const log = await this.#r.logs.capture({
        jobId: job.id,
        spoolPath: null,
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
    const { generation } = this.#membership;
    if (generation === null || !this.#lock || this.#stopping.signal.aborted) return;
    await this.#images.look(generation);
    for (const removals of this.#removals) await removals.look();
  }

  async #sayStock(): Promise<void> {
    if (this.#membership.generation === null || !this.#lock || this.#stopping.signal.aborted) return;
    await this.#r.queues.caches.say(this.#host, this.#r.runtime.caches?.list() ?? []);
    await this.#r.queues.images.sayStock(this.#host, await this.#r.runtime.images());
  }

  async #reconcile(): Promise<void> {
    await this.#supervisor.reconcile(SETTLED_MS);
  }

  /** When the job will be gone at the latest, ms since the Unix epoch; what backfill plans with. */
  #latestEnd(job: Job): number {
    const { startTimeoutSeconds, graceSeconds } = this.#r.config;
    const startsBy = job.startedAt ?? Date.now() + startTimeoutSeconds * 1000;
    return startsBy + job.timeoutMinutes * this.#minuteMs + graceSeconds * 1000;
  }
}
