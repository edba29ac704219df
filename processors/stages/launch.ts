/**
 * The stage before a container runs: its sandbox is provisioned, its job bound to it, the container started. A cold
 * start does all of it in one go; of a job that was taken over it does what is missing.
 */
import { STANDING_MOUNTS, runFilesMounts, workMount } from '../../src/containers/mounts.ts';
import type { LaunchSpec, Limits, Sandbox } from '../../src/containers/sandbox.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { amountOf, memoryBytesOf, mibOf } from '../../src/jobs/amount.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Failure } from '../../src/jobs/lifecycle.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { Since } from '../dispatch-records.ts';
import { untilAnswered } from '../persist.ts';
import type { OpenedCaches } from './caches.ts';
import {
  commandOf,
  DEFAULT_ENVIRONMENT,
  jobEnvironment,
  jobFiles,
  type SupervisionResources,
} from '../resources.ts';

export interface Launching {
  /** Aborted when the start is not to go on. */
  readonly stop: AbortSignal;
  readonly logger: Logger;
  /** Gets lines for the job's log, such as the progress of a pull. */
  readonly tell: (line: string) => void;
}

/** A newer process of this host goes on with the job. */
export class Fenced extends Error {}

/** A sandbox with the disk that was reserved for the job. @throws FlashpodsError container_start_failed */
export const provision = (
  { runtime, config }: Pick<SupervisionResources, 'runtime' | 'config'>,
  job: Pick<Job, 'diskMib' | 'diskGb'>,
): Promise<Sandbox> => runtime.provision({ diskBytes: diskBytesOf(config, job), mounts: STANDING_MOUNTS });

/** Where the host's disk is not bounded, a job gets what it asked for. */
export const diskBytesOf = (
  { jobDiskMb }: Pick<SupervisionResources['config'], 'jobDiskMb'>,
  { diskMib, diskGb }: Pick<Job, 'diskMib' | 'diskGb'>,
): number => (diskMib ?? (diskGb === null ? jobDiskMb : mibOf(diskGb))) * 2 ** 20;

/**
 * Gets the image.
 * @returns its digest
 * @throws FlashpodsError image_pull_failed; the reason of `stop` once it is aborted
 */
export const getImage = (
  { runtime }: Pick<SupervisionResources, 'runtime'>,
  { image }: Job,
  { stop, logger, tell }: Launching,
): Promise<string> => untilAnswered(logger, stop, () => runtime.ensureImage(image, tell, stop));

/**
 * Creates the container and writes down that it exists.
 * @param layer key of the layer with the job's packages
 * @param caches that the job has
 * @param since what is known of when the job's time began
 * @throws FlashpodsError container_start_failed; the reason of `stop` once it is aborted
 */
export async function bind(
  resources: Pick<SupervisionResources, 'config' | 'records' | 'bootId' | 'snapshots'>,
  job: Job,
  sandbox: Sandbox,
  { stop, logger }: Launching,
  {
    layer,
    caches,
    since,
  }: {
    readonly layer: string | undefined;
    readonly caches: OpenedCaches;
    readonly since: Since | null;
  },
): Promise<void> {
  const { records, bootId } = resources;
  stop.throwIfAborted();
  const spec = { ...(await launchSpec(resources, job, caches)), layer };
  await untilAnswered(logger, stop, () => sandbox.bind(spec));
  // guard: recorded-before-start
  await records.write({ jobId: job.id, epoch: job.epoch, phase: 'created', bootId, ...since });
}

/**
 * Starts the container if the job is still this process's to start.
 * @param look whether the job is to end, by its row; it aborts `stop` then
 * @throws Fenced, FlashpodsError container_start_failed, the reason of `stop`
 */
export async function start(
  resources: Pick<SupervisionResources, 'owns' | 'inTurn'>,
  sandbox: Sandbox,
  look: () => Promise<void>,
  { stop, logger }: Launching,
): Promise<void> {
  await untilAnswered(logger, stop, () =>
    resources.inTurn(async () => {
      // A process that slept since its claim may have a successor that has run the job already.
      if (!(await resources.owns())) throw new Fenced();
      // Or its host has been given up meanwhile, and the job with it.
      // guard: look-before-start
      await look();
      stop.throwIfAborted();
      await sandbox.start();
    }),
  );
}

/** The pull that this job waited for in the queue, as it would stand in its log had it been done here. */
export function pullLines(resources: Pick<SupervisionResources, 'pulled'>, job: Job): readonly string[] {
  const pull = resources.pulled(job.image);
  return pull && pull.endedAt >= job.createdAt ? pull.lines : [];
}

/** What a user is told of a start that failed. */
export function startFailure(error: unknown, isLate: boolean, limitSeconds: number): Failure {
  const code = 'container_start_failed';
  if (isLate) return { code, message: `The start took longer than ${limitSeconds} seconds.` };
  if (error instanceof FlashpodsError) return { code: error.code, message: error.message };
  return { code, message: 'The container could not be prepared on its host.' };
}

/** What the job, and all that is done for it on its time, may use. */
export const limitsOf = ({ config }: Pick<SupervisionResources, 'config'>, job: Job): Limits => ({
  cpus: job.cpus,
  memoryBytes: memoryBytesOf(amountOf(job)),
  pidsLimit: config.jobPidsLimit,
});

async function launchSpec(
  { config, snapshots }: Pick<SupervisionResources, 'config' | 'snapshots'>,
  job: Job,
  caches: OpenedCaches,
): Promise<LaunchSpec> {
  const snapshot = job.filesId === null ? null : await snapshots.materialise(job.filesId);
  return {
    jobId: job.id,
    epoch: job.epoch,
    jobType: job.type,
    image: job.image,
    command: commandOf(job) ?? [],
    env: { ...caches.env, ...jobEnvironment(job) },
    defaultEnv: DEFAULT_ENVIRONMENT,
    ...limitsOf({ config }, job),
    network: job.network,
    root: job.root,
    mounts: [
      workMount(snapshot, job.writable !== false),
      ...runFilesMounts({ ...caches.files, ...jobFiles(job) }),
      ...caches.mounts,
    ],
  };
}
