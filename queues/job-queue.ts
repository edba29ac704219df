/** {@link JobQueue} on BullMQ and Redis: the code that puts jobs into Redis and takes them out. */
import type { Redis } from 'ioredis';
import { leftOf, NOTHING } from '../src/jobs/amount.ts';
import type { Job } from '../src/jobs/job.ts';
import type { CapacityReport, HostCapacity, JobQueue, OwnerUsage } from '../src/jobs/ports.ts';
import type { Wait } from '../src/jobs/wait.ts';
import { ask } from './connection.ts';
import type { Queues } from './queues.ts';
import { type HostEntry, stateOf } from './semaphore/farm-view.ts';
import type { Semaphore } from './semaphore/semaphore.ts';
import type { OutlookBoard } from './waiting/outlook.ts';
import type { WaitingIndex } from './waiting/waiting-index.ts';
import { waitOf } from './waiting/waiting-reasons.ts';

export interface RedisJobQueueParts {
  /** Producer connection: fails at once when Redis is away. */
  readonly connection: Redis;
  readonly queues: Queues;
  readonly waiting: WaitingIndex;
  readonly outlook: OutlookBoard;
  readonly semaphore: Semaphore;
  /** What a start and a grace period may add to a job's timeout, ms. */
  readonly overheadMs: number;
}

export class RedisJobQueue implements JobQueue {
  readonly #p: RedisJobQueueParts;

  constructor(parts: RedisJobQueueParts) {
    this.#p = parts;
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

  waits(jobs: readonly Job[]): Promise<Wait[]> {
    const { connection, outlook, waiting } = this.#p;
    return ask(connection, 'waits', async () => {
      const [places, view] = await Promise.all([waiting.places(jobs.map(({ id }) => id)), outlook.read()]);
      return jobs.map((job, index) => waitOf(job, places[index] ?? null, view));
    });
  }

  async capacity(): Promise<CapacityReport> {
    const [{ now, hosts }, { length, oldestCreatedAt }] = await ask(this.#p.connection, 'capacity', () =>
      Promise.all([this.#p.semaphore.view(), this.#p.waiting.overview()]),
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
