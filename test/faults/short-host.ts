/**
 * A host whose jobs take 10 ms and no container: the product's consumer, semaphore and fences around a timer, with a
 * worker's rules for what it is given (look at the row, claim or give back, one run a dispatch). It writes down when
 * each run began and ended, which is what the sums are computed from.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type HostConsumer, type Outcome, startHostConsumer } from '../../queues/host-consumer.ts';
import type { QueueResources } from '../../queues/resources.ts';
import { isRefusal } from '../../queues/semaphore/refusal.ts';
import type { Hold } from '../../queues/semaphore/semaphore.ts';
import type { KnexHostStore } from '../../src/database/host-store.ts';
import type { JobStores } from '../../src/database/job-stores.ts';
import { type Amount, amountOf } from '../../src/jobs/amount.ts';
import type { Job } from '../../src/jobs/job.ts';
import { isHosted } from '../../src/jobs/states.ts';
import { into } from '../support/jobs.ts';
import { silent } from '../support/redis.ts';

export interface Run {
  readonly jobId: string;
  readonly epoch: number;
  readonly host: string;
  readonly cpus: number;
  readonly beganAt: number;
  endedAt: number;
}

export interface ShortHostOptions extends Pick<JobStores, 'store' | 'queries'> {
  readonly name: string;
  readonly cpus: number;
  readonly resources: QueueResources;
  readonly hosts: KnexHostStore;
  readonly leaseMs: number;
  /** Where every run is written down; several hosts may share it. */
  readonly runs: Run[];
  readonly jobMs?: number;
}

const BEAT_MS = 250;
/** Rows that the queue has not brought after this time are looked after without it, as a worker does. */
const SETTLED_MS = 1_000;

export class ShortHost {
  readonly #o: ShortHostOptions;
  readonly #stopping = new AbortController();
  readonly #holding = new Map<string, Hold>();
  #generation: number | null = null;
  #consumer: HostConsumer | undefined;
  #loop: Promise<void> = Promise.resolve();

  private constructor(options: ShortHostOptions) {
    this.#o = options;
  }

  static async open(options: ShortHostOptions): Promise<ShortHost> {
    const host = new ShortHost(options);
    await options.hosts.register(options.name, host.#capacity);
    await host.#beat();
    host.#consumer = startHostConsumer({
      resources: options.resources,
      host: options.name,
      concurrency: options.cpus * 2 + 4,
      onDispatch: ({ jobId, epoch }) => host.#supervise(jobId, epoch),
      logger: silent,
    });
    host.#loop = host.#beatOn();
    return host;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
    await this.#consumer?.detach();
  }

  get #capacity(): Amount {
    return { cpusMilli: this.#o.cpus * 1_000, memoryMib: this.#o.cpus * 1_024 };
  }

  async #beatOn(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await delay(BEAT_MS, undefined, { signal }).catch(() => undefined);
      try {
        await this.#beat();
        for (const row of await this.#o.queries.hostedOn(this.#o.name)) {
          if (row.startingAt === null || Date.now() - row.startingAt < SETTLED_MS) continue;
          const { id: jobId, epoch } = row;
          const own = this.#consumer?.adopt({ jobId, epoch }, () => this.#supervise(jobId, epoch));
          own?.catch(() => undefined);
        }
      } catch {
        // Redis is away; the next beat tells it what runs here
      }
    }
  }

  async #beat(): Promise<void> {
    const { resources, name, leaseMs } = this.#o;
    const { semaphore } = resources;
    const answer = this.#generation === null ? 'register' : await semaphore.beat(name, this.#generation);
    if (answer === 'ok') return;
    if (answer === 'register')
      this.#generation = await semaphore.register(name, this.#capacity, leaseMs, this.#generation);
    await semaphore.sync(name, this.#generation ?? 0, () => Promise.resolve([...this.#holding.values()]));
  }

  async #supervise(jobId: string, epoch: number): Promise<Outcome> {
    const { resources, store, queries, name, runs, jobMs = 10 } = this.#o;
    const { semaphore, announcements } = resources;
    const none: Outcome = { status: 'void', exitCode: null };
    const row = await queries.get(jobId);
    if (row?.epoch !== epoch || row.host !== name || !isHosted(row.status)) {
      await semaphore.release(jobId, epoch);
      return none;
    }
    try {
      await semaphore.claim(jobId, epoch, name, this.#generation ?? 0);
    } catch (error) {
      if (!isRefusal(error, 'not_reserved')) throw error;
      await this.#giveBack(row);
      return none;
    }
    const id = `${jobId}-${epoch}`;
    this.#holding.set(id, { jobId, epoch, owner: row.owner, ...amountOf(row), endsBy: null });
    const run: Run = { jobId, epoch, host: name, cpus: row.cpus, beganAt: performance.now(), endedAt: 0 };
    runs.push(run);
    const ours = { epoch, actor: name } as const;
    await store.transition(jobId, {
      ...ours,
      from: ['starting'],
      ...into('running'),
      patch: { startedAt: Date.now() },
    });
    await delay(jobMs);
    run.endedAt = performance.now();
    await store.decideEnding(jobId, 'exit', name, { epoch });
    this.#holding.delete(id);
    await semaphore.release(jobId, epoch);
    const end = { exitCode: 0, completedAt: Date.now() };
    await store.transition(jobId, { ...ours, from: ['running'], ...into('completed'), patch: end });
    announcements.announce(jobId, name);
    return { status: 'done', exitCode: 0 };
  }

  async #giveBack(row: Job): Promise<void> {
    const queued = await this.#o.store.transition(row.id, {
      from: ['starting'],
      ...into('queued'),
      epoch: row.epoch,
      endingReason: null,
      patch: { host: null, startingAt: null },
      actor: this.#o.name,
    });
    if (queued) await this.#o.resources.queue.enqueue(queued);
  }
}

/** @returns the most cpus of the host that ran at the same instant */
export function peakOf(runs: readonly Run[], host: string): number {
  const changes = runs
    .filter((run) => run.host === host)
    .flatMap((run) => [
      { at: run.beganAt, cpus: run.cpus },
      { at: run.endedAt, cpus: -run.cpus },
    ])
    // What ends at the same instant makes room first.
    .sort((a, b) => a.at - b.at || a.cpus - b.cpus);
  let now = 0;
  let most = 0;
  for (const change of changes) most = Math.max(most, (now += change.cpus));
  return most;
}
