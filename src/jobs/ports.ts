/** What the job service needs of the queue, without knowing which transport it is. Implemented in `queues/`. */
import type { Job } from './job.ts';

export interface Resources {
  readonly cpus: number;
  readonly memoryGb: number;
}

export type HostState = 'up' | 'draining' | 'suspect' | 'lost';

export interface HostCapacity {
  readonly name: string;
  readonly state: HostState;
  readonly capacity: Resources;
  readonly reserved: Resources;
  readonly free: Resources;
  readonly runningJobs: number;
  readonly lastHeartbeat: number | null;
}

export interface CapacityReport {
  readonly hosts: readonly HostCapacity[];
  readonly queue: { readonly length: number; readonly oldestWaitSeconds: number };
}

export interface JobQueue {
  /** Puts a waiting job into the queue, in the place its position gives it; again is harmless. @throws when Redis is away */
  enqueue(job: Job): Promise<void>;
  /** Takes a job out of the queue if it is still in it. Never throws for a missing one. @throws when Redis is away */
  withdraw(jobId: string): Promise<void>;
  /** Says "look at this job's row": to listeners of the job, and to the host that holds it. Never throws, never waits. */
  announce(jobId: string, host: string | null): void;
  /** Calls `listener` whenever the job's row may have changed. Missed announcements are possible: poll as well. */
  subscribe(jobId: string, listener: () => void): () => void;
  /** Calls `listener` with the id of whatever job's row may have changed. Missed announcements are possible as well. */
  subscribeAll(listener: (jobId: string) => void): () => void;
  /** Place in the queue, 1 is next; null when the queue does not hold it. @throws when Redis is away */
  queuePosition(job: Job): Promise<number | null>;
  /** @throws when Redis is away */
  capacity(): Promise<CapacityReport>;
}

/** Hosts that were ever registered and not removed, with all that each has. */
export interface HostRegistry {
  known(): Promise<readonly { readonly name: string; readonly capacity: Resources }[]>;
}
