/** The stage before the start: image, sandbox and container of a job, and the dispatch record that says so. */
import { sandboxName } from '../../src/ids.ts';
import { amountOf, memoryBytesOf } from '../../src/jobs/amount.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { settleAll, untilAnswered } from '../persist.ts';
import { jobEnvironment, jobFiles, type SupervisionResources } from '../resources.ts';

/**
 * @param tell gets lines for the job's log, such as the progress of a pull
 * @returns the image's digest
 * @throws FlashpodsError image_pull_failed, container_start_failed; the reason of `stop` once it is aborted
 */
export async function prepare(
  resources: Pick<SupervisionResources, 'config' | 'runtime' | 'records' | 'bootId' | 'snapshots'>,
  job: Job,
  { stop, tell, logger }: { stop: AbortSignal; tell: (line: string) => void; logger: Logger },
): Promise<string> {
  const { runtime, config, records, bootId } = resources;
  const limits = {
    name: sandboxName(job.id, job.epoch),
    cpus: job.cpus,
    memoryBytes: memoryBytesOf(amountOf(job)),
    pidsLimit: config.jobPidsLimit,
  };
  const [digest] = await settleAll([
    untilAnswered(logger, stop, () => runtime.ensureImage(job.image, tell, stop)),
    runtime.provision({ ...limits, diskBytes: config.jobDiskMb * 2 ** 20 }),
  ]);
  stop.throwIfAborted();
  await untilAnswered(logger, stop, async () =>
    runtime.create({
      ...limits,
      jobId: job.id,
      epoch: job.epoch,
      jobType: job.type,
      image: job.image,
      command: job.command === null ? [] : ['/bin/sh', '-c', job.command],
      env: jobEnvironment(job),
      network: job.network,
      workDir: job.filesId === null ? null : await resources.snapshots.materialise(job.filesId),
      workReadOnly: job.writable === false,
      runFiles: jobFiles(job),
    }),
  );
  // guard: recorded-before-start
  await records.write({ jobId: job.id, epoch: job.epoch, phase: 'created', bootId });
  return digest;
}
