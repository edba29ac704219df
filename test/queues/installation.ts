/** A small installation for the tests of this folder: a real database, a real Redis, jobs without containers. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Dispatcher } from '../../queues/dispatcher.ts';
import { type HostConsumer, type OnDispatch, startHostConsumer } from '../../queues/host-consumer.ts';
import { createQueueResources, type QueueResources } from '../../queues/resources.ts';
import type { Reservation } from '../../queues/semaphore/farm-view.ts';
import type { Hold } from '../../queues/semaphore/semaphore.ts';
import { Database } from '../../src/database/database.ts';
import { KnexHostStore } from '../../src/database/host-store.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import { KnexTenantStore } from '../../src/database/tenant-store.ts';
import { dispatchId } from '../../src/ids.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { NewJob } from '../../src/jobs/store.ts';
import { NO_LIMITS, Tenants } from '../../src/tenants/tenants.ts';
import { eventually } from '../support/eventually.ts';
import { into, newJob } from '../support/jobs.ts';
import { ownPrefix, silent, type TestRedis } from '../support/redis.ts';

export const HOST_LOST_MS = 60_000;
export const LEASE_MS = 30_000;

export interface TestHost {
  readonly name: string;
  readonly generation: number;
}

export class Installation implements JobStores {
  readonly prefix = ownPrefix();
  readonly database: Database;
  readonly store: JobStores['store'];
  readonly lifecycle: JobStores['lifecycle'];
  readonly queries: JobStores['queries'];
  readonly journal: JobStores['journal'];
  readonly hosts: KnexHostStore;
  readonly tenants: Tenants;
  readonly resources: QueueResources;
  readonly #dir: string;
  readonly redis: TestRedis;
  readonly #toClose: (() => Promise<void>)[] = [];

  private constructor(dir: string, redis: TestRedis, database: Database) {
    this.#dir = dir;
    this.redis = redis;
    this.database = database;
    const { store, lifecycle, queries, journal } = jobStores(database);
    this.store = store;
    this.lifecycle = lifecycle;
    this.queries = queries;
    this.journal = journal;
    this.hosts = new KnexHostStore(database, 0);
    this.tenants = new Tenants({
      store: new KnexTenantStore(database),
      defaults: NO_LIMITS,
      logger: silent,
      freshMs: 0,
    });
    this.resources = this.process();
  }

  static async open(redis: TestRedis): Promise<Installation> {
    const dir = mkdtempSync(join(tmpdir(), 'fp-queues-'));
    const installation = new Installation(dir, redis, await Database.open({ path: join(dir, 'db') }));
    await eventually('Redis is connected', () => installation.resources.connection.status === 'ready');
    return installation;
  }

  /** What another process needs to take part. */
  get address(): { redisUrl: string; prefix: string; dbPath: string } {
    return { redisUrl: this.redis.url, prefix: this.prefix, dbPath: join(this.#dir, 'db') };
  }

  /** What one process of the installation has of Redis. */
  process(): QueueResources {
    const resources = createQueueResources({
      redisUrl: this.redis.url,
      prefix: this.prefix,
      logger: silent,
      startAllowanceMs: 0,
      graceMs: 0,
    });
    this.#toClose.unshift(() => resources.close());
    return resources;
  }

  dispatcher(
    host: string,
    options: { resources?: QueueResources; leaseMs?: number; passingMs?: number } = {},
  ): Dispatcher {
    const dispatcher = new Dispatcher({
      resources: options.resources ?? this.resources,
      lifecycle: this.lifecycle,
      queries: this.queries,
      journal: this.journal,
      hosts: this.hosts,
      tenants: this.tenants,
      host,
      logger: silent,
      hostLostMs: HOST_LOST_MS,
      leaseMs: options.leaseMs ?? LEASE_MS,
      reconcileMs: 1_000,
      ...(options.passingMs === undefined ? {} : { passingMs: options.passingMs }),
    });
    this.#toClose.unshift(dispatcher.stop);
    dispatcher.start();
    return dispatcher;
  }

  consumer(
    host: string,
    onDispatch: OnDispatch,
    options: { concurrency?: number; canaryEveryMs?: number; canaryLateMs?: number } = {},
  ): HostConsumer {
    const { concurrency = 4, ...canary } = options;
    const consumer = startHostConsumer({
      resources: this.resources,
      host,
      concurrency,
      onDispatch,
      logger: silent,
      ...canary,
    });
    this.#toClose.unshift(() => consumer.detach());
    return consumer;
  }

  async openHost(
    name: string,
    cpus: number,
    memoryGb = cpus,
    holds: readonly Hold[] = [],
  ): Promise<TestHost> {
    const capacity = { cpusMilli: cpus * 1_000, memoryMib: memoryGb * 1_024 };
    await this.hosts.register(name, capacity);
    const { semaphore } = this.resources;
    const generation = await semaphore.register(name, capacity, LEASE_MS, null);
    await semaphore.sync(name, generation, async () => holds);
    return { name, generation };
  }

  /** A row as the API makes it, in the queue unless told otherwise. */
  async submit(overrides: Partial<NewJob> & { enqueue?: boolean } = {}): Promise<Job> {
    const { enqueue = true, ...fields } = overrides;
    const small = { image: 'test', cpus: 1, memory_gb: 1, timeout_minutes: 1, network: 'none' };
    const { job } = await this.store.create(
      newJob(small, { owner: 'owner', requestHash: randomUUID(), ...fields }),
    );
    if (!enqueue) return job;
    await this.resources.queue.enqueue(job);
    const queued = await this.store.transition(job.id, {
      from: ['pending'],
      ...into('queued'),
      patch: { queuedAt: Date.now() },
      actor: 'test',
    });
    this.resources.announcements.announce(job.id, null);
    return queued ?? (await this.row(job.id));
  }

  async row(id: string): Promise<Job> {
    const row = await this.queries.get(id);
    if (!row) throw new Error(`no row ${id}`);
    return row;
  }

  async status(job: Job): Promise<string> {
    return (await this.row(job.id)).status;
  }

  becomes(job: Job, wanted: string): Promise<boolean> {
    return eventually(`the job is ${wanted}`, async () => (await this.status(job)) === wanted);
  }

  /** State of the dispatch in the host's queue. */
  inRunQueue(job: Job, host: string, epoch = 1): Promise<string> {
    return this.resources.queues.run(host).getJobState(dispatchId(job.id, epoch));
  }

  async held(): Promise<readonly Reservation[]> {
    return (await this.resources.semaphore.view()).reservations;
  }

  /** As after a restoration: dispatch may begin. */
  async declareWhole(): Promise<void> {
    await this.resources.semaphore.restoring('t');
    await this.resources.semaphore.found('t');
  }

  /** The first step of a dispatch. */
  reserve(job: Job, host: string, epoch = 1): Promise<void> {
    return this.resources.semaphore.reserve({
      jobId: job.id,
      epoch,
      host,
      owner: job.owner,
      cpusMilli: 1_000,
      memoryMib: 1_024,
      endsBy: null,
      ticket: 't',
    });
  }

  /** The second step of a dispatch. */
  setStarting(job: Job, host: string, epoch = 1): Promise<Job | null> {
    return this.store.transition(job.id, {
      from: ['queued'],
      ...into('starting'),
      patch: { host, epoch, startingAt: Date.now() },
      actor: 'test',
    });
  }

  /** A processor that claims, runs nothing, and ends the job; `during` is the command. */
  processor(host: TestHost, during: (job: Job) => Promise<void> | void = () => undefined): OnDispatch {
    const { semaphore, announcements } = this.resources;
    return async ({ jobId, epoch }) => {
      await semaphore.claim(jobId, epoch, host.name, host.generation);
      const row = await this.store.transition(jobId, {
        from: ['starting'],
        ...into('running'),
        epoch,
        patch: { startedAt: Date.now() },
        actor: host.name,
      });
      if (row) {
        await during(row);
        await this.store.decideEnding(jobId, 'exit', host.name, { epoch });
        await this.store.transition(jobId, {
          from: ['running'],
          ...into('completed'),
          epoch,
          patch: { exitCode: 0, completedAt: Date.now() },
          actor: host.name,
        });
      }
      await semaphore.release(jobId, epoch);
      announcements.announce(jobId, host.name);
      return { status: 'completed', exitCode: 0 };
    };
  }

  async close(): Promise<void> {
    for (const step of this.#toClose) await step();
    await this.database.close();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
