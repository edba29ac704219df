/** The stage after the container: what the job left in `/artifacts`, and what of `/work` it asked for, become artifacts. */
import { workPatterns } from '../../src/artifacts/work-patterns.ts';
import { FlashpodsError } from '../../src/errors.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { inNameOf } from '../../src/tree-process/turns.ts';
import type { ArtifactRecord, Job } from '../../src/jobs/job.ts';
import type { Failure } from '../../src/jobs/lifecycle.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { SupervisionResources } from '../resources.ts';

export interface Collected {
  readonly artifacts: readonly ArtifactRecord[];
  readonly warnings: readonly string[];
  readonly failure: Failure | null;
}

const CANCELLED = 'No artifacts were kept: their collection was cancelled.';

export const NOTHING_COLLECTED: Collected = { artifacts: [], warnings: [], failure: null };

/**
 * Again after a crash it gives the same.
 * @param signal this process gives the job up @param cancelled somebody doesn't want to wait for it
 * @throws the reason of `signal` once it is aborted; failures are in the result
 */
export async function collect(
  { config, artifacts: store }: Pick<SupervisionResources, 'config' | 'artifacts'>,
  job: Job,
  sandbox: Sandbox,
  signal: AbortSignal,
  logger: Logger,
  cancelled = new AbortController().signal,
): Promise<Collected> {
  const patterns = workPatterns(job.artifacts);
  try {
    const request = {
      source: await sandbox.artifactsPath(),
      work: patterns.length === 0 ? undefined : { source: await sandbox.workPath(), patterns },
      limits: {
        maxFileBytes: config.artifactMaxFileMb * 2 ** 20,
        maxTotalBytes: config.artifactMaxTotalMb * 2 ** 20,
        maxFiles: config.artifactMaxFiles,
      },
      signal: AbortSignal.any([signal, cancelled]),
    };
    const result = await inNameOf(job.owner, () => store.collect(job.id, request));
    const createdAt = Date.now();
    const described = [
      ...result.artifacts,
      ...result.directories.map((directory) => ({ ...directory, type: 'parent' as const })),
    ];
    const artifacts = described.map((artifact) => ({
      name: artifact.name,
      type: artifact.type,
      sizeBytes: artifact.size_bytes,
      sha256: artifact.sha256,
      mode: artifact.mode,
      mtimeNs: artifact.mtime_ns,
      linkTarget: artifact.link_target,
      leadsTo: artifact.leads_to,
      createdAt,
    }));
    return { artifacts, warnings: result.warnings, failure: null };
  } catch (error) {
    signal.throwIfAborted();
    if (cancelled.aborted) return { ...NOTHING_COLLECTED, warnings: [CANCELLED] };
    logger.error({ err: error }, 'the artifacts could not be collected');
    const failure: Failure =
      error instanceof FlashpodsError
        ? { code: error.code, message: error.message }
        : { code: 'artifact_copy_failed', message: 'The artifacts could not be collected.' };
    return { artifacts: [], warnings: [], failure };
  }
}
