/** What the job service needs of the queue, without knowing which transport it is. Implemented in `queues/`. */
import type { Amount } from './amount.ts';
import type { Job } from './job.ts';
import type { Wait } from './wait.ts';

export type HostState = 'up' | 'draining' | 'suspect' | 'lost';

export interface HostCapacity {
  readonly name: string;
  readonly state: HostState;
  readonly capacity: Amount;
  readonly reserved: Amount;
  readonly free: Amount;
  readonly runningJobs: number;
  readonly lastHeartbeat: number | null;
}

export interface CapacityReport {
  readonly hosts: readonly HostCapacity[];
  readonly queue: { readonly length: number; readonly oldestWaitSeconds: number };
}

/** What an owner's jobs hold, on all hosts, and how many wait. */
export interface OwnerUsage extends Amount {
  readonly runningJobs: number;
  readonly queuedJobs: number;
}

export interface OwnerTotals extends OwnerUsage {
  /** Artifacts that are kept longer since their jobs asked for it. */
  readonly keptMb: number;
}

export interface JobQueue {
  /** Puts a waiting job into the queue, in the place its position gives it; again is harmless. @throws when Redis is away */
  enqueue(job: Job): Promise<void>;
  /** Takes a job out of the queue if it is still in it. Never throws for a missing one. @throws when Redis is away */
  withdraw(jobId: string): Promise<void>;
  /** How each of these waiting jobs stands; costs little more than for one. @throws when Redis is away */
  waits(jobs: readonly Job[]): Promise<readonly Wait[]>;
  /** @throws when Redis is away */
  capacity(): Promise<CapacityReport>;
  /** Of the owners that have jobs in the queue or on a host. @throws when Redis is away */
  usage(): Promise<ReadonlyMap<string, OwnerUsage>>;
}

/** A job that is not accepted yet. */
export type AdmissionWish = Pick<
  Job,
  'id' | 'owner' | 'image' | 'priority' | 'cpus' | 'memoryGb' | 'diskGb' | 'timeoutMinutes'
>;

/** Room that is held for one. */
export interface Admission {
  readonly jobId: string;
  readonly epoch: number;
  readonly host: string;
  readonly ticket: string;
  readonly diskMib: number | null;
}

/** Room for jobs that may not wait. */
export interface Admissions {
  /** Whether there is room now; holds nothing. @throws FlashpodsError service_unavailable */
  hasRoom(wish: AdmissionWish): Promise<boolean>;
  /**
   * Reserves room for one that could start now, passing none that waits.
   * @returns null when there is none, or it is more than its owner may hold @throws FlashpodsError service_unavailable
   */
  hold(wish: AdmissionWish): Promise<Admission | null>;
  /** Brings the job, accepted by now, to its room. @returns false when it waits no more @throws when Redis is away */
  start(job: Job, admission: Admission): Promise<boolean>;
  /** Of a job that was not accepted. Never throws. */
  giveBack(admission: Admission): Promise<void>;
}

/** How everybody hears of changes. One may be missed: poll as well. */
export interface Announcements {
  /** Says "look at this job's row": to listeners of the job, and to the host that holds it. Never throws, never waits. */
  announce(jobId: string, host: string | null): void;
  /** Calls `listener` whenever the job's row may have changed. */
  subscribe(jobId: string, listener: () => void): () => void;
  /** Calls `listener` with the id of each job whose row may have changed. */
  subscribeAll(listener: (jobId: string) => void): () => void;
}

export interface HostControl {
  /** Harmless for a host that Redis does not know. @throws when Redis is away */
  drainHost(name: string, draining: boolean): Promise<void>;
  /** @returns false when its worker lives; true also for a host that Redis does not know. @throws when Redis is away */
  forgetHost(name: string): Promise<boolean>;
}

export interface KnownHost {
  readonly name: string;
  readonly capacity: Amount;
  /** Somebody said that it takes nothing new; what Redis says follows this. */
  readonly draining: boolean;
}

/** Hosts that were ever registered and not removed. */
export interface HostRegistry {
  /** By name; as much as a second old. */
  known(): Promise<readonly KnownHost[]>;
  /** As it is now. */
  get(name: string): Promise<KnownHost | null>;
  /** @returns whether there is such a host */
  setDraining(name: string, draining: boolean): Promise<boolean>;
  /** @returns whether there was one */
  remove(name: string): Promise<boolean>;
}
