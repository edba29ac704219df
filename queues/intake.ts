/** {@link JobQueue} on BullMQ and Redis: where the API puts jobs, and how everybody hears of their changes. */
import type { Redis } from 'ioredis';
import { leftOf, NOTHING } from '../src/jobs/amount.ts';
import type { Job } from '../src/jobs/job.ts';
import type {
  CapacityReport,
  HostCapacity,
  HostState,
  HostControl,
  JobQueue,
  OwnerUsage,
} from '../src/jobs/ports.ts';
import type { Wait } from '../src/jobs/wait.ts';
import type { Logger } from '../src/observability/logger.ts';
import { ask } from './connection.ts';
import type { Keys } from './keys.ts';
import type { Queues } from './queues.ts';
import { isRefusal } from './semaphore/refusal.ts';
import type { HostEntry, Semaphore } from './semaphore/semaphore.ts';
import type { OutlookBoard } from './waiting/outlook.ts';
import type { WaitingIndex } from './waiting/waiting-index.ts';
import { waitOf } from './waiting/waiting-reasons.ts';

export interface RedisJobQueueParts {
  /** Producer connection: fails at once when Redis is away. */
  readonly connection: Redis;
  /** Worker connection for subscriptions; used for nothing else. */
  readonly subscriber: Redis;
  readonly keys: Keys;
  readonly queues: Queues;
  readonly waiting: WaitingIndex;
  readonly outlook: OutlookBoard;
  readonly semaphore: Semaphore;
  readonly logger: Logger;
  /** What a start and a grace period may add to a job's timeout, ms. */
  readonly overheadMs: number;
}

type Listener = (payload: string) => void;

export class RedisJobQueue implements JobQueue, HostControl {
  readonly #p: RedisJobQueueParts;
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #jobListeners = new Map<string, Set<() => void>>();

  constructor(parts: RedisJobQueueParts) {
    this.#p = parts;
    parts.subscriber.on('message', (channel: string, payload: string) => {
      for (const listener of this.#listeners.get(channel) ?? []) listener(payload);
    });
  }

  /**
   * First what people see, then the index: dispatch works from that, and takes out of both what it starts. An entry
   * that a crash left without its place in the index is found by reconciliation.
   */
  enqueue(job: Job): Promise<void> {
    const { connection, queues, waiting, overheadMs } = this.#p;
    const data = {
      owner: job.owner,
      type: job.type,
      cpus: job.cpus,
      memoryGb: job.memoryGb,
      priority: job.priority,
      position: job.position,
    };
    return ask(connection, 'enqueue', async () => {
      // A priority also makes BullMQ keep the entry in a sorted set: taking one out of a list of 100,000 would be slow.
      await queues.intake.add(job.type, data, { jobId: job.id, priority: job.priority });
      await waiting.enter(job, overheadMs);
    });
  }

  withdraw(jobId: string): Promise<void> {
    const { connection, queues, waiting } = this.#p;
    return ask(connection, 'withdraw', async () => {
      await Promise.all([queues.intake.remove(jobId), waiting.leave(jobId)]);
    });
  }

  announce(jobId: string, host: string | null): void {
    const { connection, keys } = this.#p;
    this.#publish(connection, keys.lookChannel, jobId);
    this.#publish(connection, keys.wakeChannel, jobId);
    if (host !== null) this.#publish(connection, keys.hostChannel(host), jobId);
  }

  subscribe(jobId: string, listener: () => void): () => void {
    let listeners = this.#jobListeners.get(jobId);
    if (!listeners) {
      listeners = new Set();
      this.#jobListeners.set(jobId, listeners);
    }
    // Wrapped, so that the same function given twice is two subscriptions.
    const entry = (): void => listener();
    listeners.add(entry);
    this.#listen(this.#p.keys.lookChannel, this.#onLook);
    return () => {
      listeners.delete(entry);
      if (listeners.size === 0 && this.#jobListeners.get(jobId) === listeners)
        this.#jobListeners.delete(jobId);
    };
  }

  subscribeAll(listener: (jobId: string) => void): () => void {
    return this.#listen(this.#p.keys.lookChannel, (payload) => listener(payload));
  }

  /** Calls with the id of a job of this host that wants to be looked at, or '' when the host shall synchronise. */
  subscribeHost(host: string, listener: (jobId: string) => void): () => void {
    return this.#listen(this.#p.keys.hostChannel(host), (payload) => listener(payload));
  }

  /** Calls when an image may have been wished for on this host. */
  subscribeImages(host: string, listener: () => void): () => void {
    return this.#listen(this.#p.keys.imagesChannel(host), () => listener());
  }

  /** Calls whenever room or work may have come up; `vacancy` when the dispatcher that led has gone. */
  subscribeWake(listener: (vacancy: boolean) => void): () => void {
    return this.#listen(this.#p.keys.wakeChannel, (payload) => listener(payload === 'vacancy'));
  }

  waits(jobs: readonly Job[]): Promise<Wait[]> {
    const { connection, outlook, waiting } = this.#p;
    return ask(connection, 'waits', async () => {
      const [places, view] = await Promise.all([waiting.places(jobs.map(({ id }) => id)), outlook.read()]);
      return jobs.map((job, index) => waitOf(job, places[index] ?? null, view));
    });
  }

  async capacity(): Promise<CapacityReport> {
    const [{ now, hosts }, { length, oldestCreatedAt }] = await ask(this.#p.connection, 'capacity', () =>
      Promise.all([this.#p.semaphore.snapshot(), this.#p.waiting.overview()]),
    );
    const oldestWaitSeconds =
      oldestCreatedAt === null ? 0 : Math.max(0, Math.round((now - oldestCreatedAt) / 1_000));
    return { hosts: hosts.map(present), queue: { length, oldestWaitSeconds } };
  }

  async usage(): Promise<ReadonlyMap<string, OwnerUsage>> {
    const { connection, semaphore, waiting } = this.#p;
    const [held, counts] = await ask(connection, 'usage', () =>
      Promise.all([semaphore.heldByOwner(), waiting.counts()]),
    );
    const owners = new Set([...held.keys(), ...counts.keys()]);
    return new Map(
      [...owners].map((owner) => {
        const { jobs, ...amount } = held.get(owner) ?? { jobs: 0, ...NOTHING };
        return [owner, { ...amount, runningJobs: jobs, queuedJobs: counts.get(owner) ?? 0 }];
      }),
    );
  }

  async drainHost(name: string, draining: boolean): Promise<void> {
    await this.#p.semaphore.drain(name, draining).catch((error: unknown) => {
      if (!isRefusal(error, 'unknown_host')) throw error;
    });
  }

  async forgetHost(name: string): Promise<boolean> {
    try {
      await this.#p.semaphore.forget(name);
    } catch (error) {
      if (isRefusal(error, 'lease_live')) return false;
      if (!isRefusal(error, 'unknown_host')) throw error;
    }
    await ask(this.#p.connection, 'forgetHost', () => this.#p.queues.drop(name));
    return true;
  }

  readonly #onLook: Listener = (jobId) => {
    for (const listener of this.#jobListeners.get(jobId) ?? []) listener();
  };

  #listen(channel: string, listener: Listener): () => void {
    let listeners = this.#listeners.get(channel);
    if (!listeners) {
      listeners = new Set();
      this.#listeners.set(channel, listeners);
      // The connection keeps trying, and subscribes anew by itself after an outage.
      this.#p.subscriber.subscribe(channel).catch((error: unknown) => {
        this.#p.logger.debug({ err: error, channel }, 'subscription ended');
      });
    }
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  #publish(connection: Redis, channel: string, payload: string): void {
    // An announcement only saves somebody a second: whoever listens polls as well.
    connection.publish(channel, payload).catch(() => undefined);
  }
}

/** @returns `suspect` for a host that gets nothing new though nobody drained it */
export function stateOf(host: HostEntry): HostState {
  if (host.lost) return 'lost';
  if (!host.leaseLive || !host.synchronised) return 'suspect';
  return host.draining ? 'draining' : 'up';
}

function present(host: HostEntry): HostCapacity {
  const { capacity, used } = host;
  return {
    name: host.name,
    state: stateOf(host),
    capacity,
    reserved: used,
    free: leftOf(capacity, used),
    runningJobs: host.held,
    lastHeartbeat: host.beatAt,
  };
}
