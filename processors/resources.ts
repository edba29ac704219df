import type { ArtifactStore } from '../src/artifacts/artifact-store.ts';
import type { Config } from '../src/config.ts';
import type { ContainerRuntime } from '../src/containers/runtime.ts';
import type { Job } from '../src/jobs/job.ts';
import type { JobQueue } from '../src/jobs/ports.ts';
import type { JobStore } from '../src/jobs/store.ts';
import type { LogStore } from '../src/logs/log-store.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { SnapshotStore } from '../src/uploads/snapshot-store.ts';
import type { HostJournal } from './host-journal.ts';
import type { PulledImage } from './image-pulls.ts';

/** Everything long-lived that supervising a job needs; made once by `startWorker`. */
export interface SupervisionResources {
  readonly config: Config;
  readonly logger: Logger;
  readonly store: JobStore;
  readonly runtime: ContainerRuntime;
  readonly journal: HostJournal;
  readonly host: string;
  readonly bootId: string;
  readonly logs: LogStore;
  readonly artifacts: ArtifactStore;
  readonly snapshots: Pick<SnapshotStore, 'materialise'>;
  /**
   * The point of no return. `first`: this process may create the container, and nobody has before. `again`: it was
   * claimed before, by this or an earlier process of the host. `no_reservation`: this dispatch holds nothing on this
   * host. `fenced`: a newer worker owns the host's name. @throws when Redis is away
   */
  claim(jobId: string, epoch: number): Promise<'first' | 'again' | 'no_reservation' | 'fenced'>;
  /**
   * Whether this process may still start containers of its host; asked right before each start. False: a newer one has
   * taken the name over. Never throws, and takes no longer than Redis.
   */
  owns(): Promise<boolean>;
  /** What there is to tell of an image that was pulled for waiting jobs. */
  pulled(image: string): PulledImage | null;
  /** Gives the capacity back; never throws, tries again while Redis is away. */
  release(jobId: string, epoch: number): void;
  announce: JobQueue['announce'];
  /** The job runs: from now on it is known when it will have ended at the latest. Never throws. */
  started(job: Job): void;
  /**
   * Runs work that costs Podman much processor time (create, start, remove) in turn with others: more of it at once
   * than the processors can carry makes all of it slower, 8 at once on 2 cores by a fifth.
   */
  inTurn<T>(work: () => Promise<T>): Promise<T>;
  /** One minute of a job's timeout, milliseconds; 60,000 but in tests. */
  readonly minuteMs: number;
}

/**
 * What a job is told in variables. Linux takes no value of 128 KiB and more; task and context have 100,000 bytes at
 * most, so they are always here whole.
 */
export const jobEnvironment = (job: Job): Record<string, string> => ({
  ...job.env,
  FLASHPODS_JOB_ID: job.id,
  FLASHPODS_JOB_TYPE: job.type,
  ...(job.type === 'agent'
    ? {
        FLASHPODS_TASK: job.task ?? '',
        FLASHPODS_CONTEXT: job.context ?? '',
        FLASHPODS_GIT_BRANCH: job.gitBranch ?? '',
        ...(job.gitUrl === null ? {} : { FLASHPODS_GIT_URL: job.gitUrl }),
      }
    : {}),
});

/** What a job is told in files of `/run/flashpods`. */
export const jobFiles = (job: Job): Record<string, string> =>
  job.type === 'agent' ? { task: job.task ?? '', context: job.context ?? '' } : {};
