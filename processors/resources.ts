import type { LimitFunction } from 'p-limit';
import type { QueueResources } from '../queues/resources.ts';
import type { ArtifactStore } from '../src/artifacts/artifact-store.ts';
import type { Config } from '../src/config.ts';
import type { Caches } from '../src/containers/caches.ts';
import type { PackageLayers } from '../src/containers/package-layers.ts';
import type { ContainerRuntime } from '../src/containers/runtime.ts';
import type { KnexHostStore } from '../src/database/host-store.ts';
import { SCRIPT_FILE, scriptOf, type ShellCommand } from '../src/containers/shell.ts';
import { amountOf, memoryBytesOf } from '../src/jobs/amount.ts';
import type { Job } from '../src/jobs/job.ts';
import type { EventJournal } from '../src/jobs/journal.ts';
import type { JobLifecycle } from '../src/jobs/lifecycle.ts';
import type { Announcements } from '../src/jobs/ports.ts';
import type { JobQueries } from '../src/jobs/queries.ts';
import type { LogStore } from '../src/logs/log-store.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { TenantRegistry } from '../src/tenants/tenants.ts';
import type { SnapshotStore } from '../src/uploads/snapshot-store.ts';
import type { DispatchRecords } from './dispatch-records.ts';
import type { HostMembership } from './host-membership.ts';
import type { ImagePulls } from './image-pulls.ts';
import type { Releases } from './releases.ts';

/** Everything long-lived that a worker process needs; made once, by `bin/roles/worker.ts`. */
export interface WorkerResources {
  readonly config: Config;
  readonly logger: Logger;
  readonly lifecycle: JobLifecycle;
  readonly queries: JobQueries;
  readonly journal: EventJournal;
  readonly hosts: KnexHostStore;
  readonly tenants: TenantRegistry;
  readonly runtime: ContainerRuntime;
  readonly queues: QueueResources;
  readonly logs: LogStore;
  readonly artifacts: ArtifactStore;
  readonly snapshots: SnapshotStore;
  readonly uploads: { sweep(): Promise<unknown> };
  /** One minute of a job's timeout, milliseconds; 60,000 but in tests. */
  readonly minuteMs?: number;
}

/** What deleting what is past its retention needs. */
export interface CleanerResources extends Pick<WorkerResources, 'logger' | 'uploads'> {
  readonly config: Pick<
    Config,
    'logRetentionHours' | 'artifactRetentionHours' | 'eventsRetentionHours' | 'logsTotalMb'
  >;
  readonly lifecycle: Pick<JobLifecycle, 'cleaning' | 'filesDeleted' | 'cleaned' | 'warned'>;
  readonly queries: Pick<JobQueries, 'expired' | 'finishedWithLogs' | 'remains'>;
  readonly journal: Pick<EventJournal, 'deleteExpired'>;
  readonly logs: Pick<LogStore, 'list' | 'delete'>;
  readonly artifacts: Pick<ArtifactStore, 'list' | 'delete'>;
  readonly runtime: {
    readonly packages: Pick<PackageLayers, 'trim'> | null;
    readonly caches: Pick<Caches, 'trim'> | null;
  };
}

/** What supervising the jobs of one host needs, the parts of its worker among them. */
export interface SupervisionResources
  extends
    Pick<WorkerResources, 'config' | 'logger' | 'lifecycle' | 'queries' | 'runtime' | 'logs' | 'artifacts'>,
    Pick<HostMembership, 'claim' | 'owns'>,
    Pick<Releases, 'release' | 'settle'>,
    Pick<ImagePulls, 'pulled'>,
    Pick<Announcements, 'announce'> {
  readonly snapshots: Pick<SnapshotStore, 'materialise'>;
  readonly records: DispatchRecords;
  readonly host: string;
  readonly bootId: string;
  /** Whether less of this host's disk is free than the rest that jobs leave alone. */
  isDiskFull(): boolean;
  /** Puts a job whose dispatch came to nothing back into its old place. @throws when Redis is away */
  requeue(job: Job): Promise<void>;
  /** What this host keeps of caches has changed. Never throws. */
  cachesChanged(): void;
  /** The job runs: from now on it is known when it will have ended at the latest. Never throws. */
  started(job: Job): void;
  /**
   * Runs work that costs Podman much processor time (create, start, remove) in turn with others: more of it at once
   * than the processors can carry makes all of it slower, 8 at once on 2 cores by a fifth.
   */
  readonly inTurn: LimitFunction;
  /** One minute of a job's timeout, milliseconds. */
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
  FLASHPODS_CPUS: String(job.cpus),
  FLASHPODS_MEMORY_MB: String(Math.floor(memoryBytesOf(amountOf(job)) / 2 ** 20)),
  ...(job.type === 'agent'
    ? {
        FLASHPODS_TASK: job.task,
        FLASHPODS_CONTEXT: job.context ?? '',
        FLASHPODS_GIT_BRANCH: job.gitBranch,
        ...(job.gitUrl === null ? {} : { FLASHPODS_GIT_URL: job.gitUrl }),
      }
    : {}),
});

/** What every job finds unless its image or its own `env` says otherwise. */
export const DEFAULT_ENVIRONMENT: Readonly<Record<string, string>> = {
  LANG: 'C.UTF-8',
  TERM: 'xterm',
  CI: 'true',
  GIT_CONFIG_SYSTEM: '/run/flashpods/gitconfig',
};

/**
 * A system's configuration is the weakest: what the project, the image's user or the image itself says goes before it.
 * Variables such as GIT_AUTHOR_NAME would overrule all of them.
 */
const GITCONFIG = `[user]
\tname = Flashpods job
\temail = job@flashpods.invalid
[include]
\tpath = /etc/gitconfig
`;

/** What runs in a worker's container; null for an agent, which is its image's own. */
export const commandOf = (job: Job): ShellCommand | null =>
  job.type === 'worker' ? { text: job.command, shell: job.shell, merge: job.merge } : null;

/** What a job is told in files of `/run/flashpods`. */
export function jobFiles(job: Job): Record<string, string> {
  if (job.type === 'agent') return { gitconfig: GITCONFIG, task: job.task, context: job.context ?? '' };
  const script = scriptOf({ text: job.command, shell: job.shell });
  return { gitconfig: GITCONFIG, ...(script === null ? {} : { [SCRIPT_FILE]: script }) };
}
