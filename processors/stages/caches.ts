/**
 * The caches of a job: they are opened before it is bound, and what it changed of them is kept after its terminal state.
 * No cache is worth a failure: what can't be had is cold, and what can't be kept is left.
 */
import { DEFAULT_SCOPE, type JobCache } from '../../src/caches/cache.ts';
import { cachesInForce, scopeOf, toldOf } from '../../src/caches/known.ts';
import { type CacheMount, cacheMount } from '../../src/containers/mounts.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { SupervisionResources } from '../resources.ts';

/** What a job is launched with. */
export interface OpenedCaches {
  readonly mounts: readonly CacheMount[];
  readonly env: Readonly<Record<string, string>>;
  /** In `/run/flashpods`, by name. */
  readonly files: Readonly<Record<string, string>>;
  /** For when a sandbox is bound that has them. */
  readonly release: () => void;
}

const NONE_HERE = 'cold, since this host can keep none (`flashpods doctor` says why)';

/** What is said of a cache in the log. */
export const cacheLine = (name: string, notice: string): string => `cache ${name}: ${notice}`;

/** @param tell called with a line for each that is cold */
export function openCaches(
  { runtime, logger }: Pick<SupervisionResources, 'runtime' | 'logger'>,
  job: Job,
  tell: (line: string) => void,
): OpenedCaches {
  const jobCaches = cachesInForce(job.caches);
  const scope = scopeOf(job);
  const opened = jobCaches.map(({ name, path, mode }, at) => {
    if (mode === 'none') return { mount: cacheMount(at, path, []), release: () => undefined };
    if (runtime.caches === null) {
      tell(cacheLine(name, NONE_HERE));
      return { mount: cacheMount(at, path, []), release: () => undefined };
    }
    const { layers, notice, release } = runtime.caches.open({ owner: job.owner, name, scope });
    if (notice !== null)
      tell(cacheLine(name, scope === DEFAULT_SCOPE ? notice : `${notice} (scope ${scope})`));
    logger.debug({ job_id: job.id, cache: name, scope, layers: layers.length }, 'a job opens a cache');
    return { mount: cacheMount(at, path, layers), release };
  });
  return {
    ...toldOf(jobCaches),
    mounts: opened.map(({ mount }) => mount),
    release() {
      for (const { release } of opened) release();
    },
  };
}

/** Those that it writes, as its sandbox has them. */
function written(job: Job, sandbox: Sandbox): (readonly [JobCache, CacheMount])[] {
  return cachesInForce(job.caches).flatMap((cache) => {
    const mount = sandbox.caches.find(({ target }) => target === cache.path);
    return cache.mode === 'write' && mount !== undefined ? [[cache, mount] as const] : [];
  });
}

/** Whether a job that has ended left something to be kept. */
export const hasWritten = (
  { runtime }: Pick<SupervisionResources, 'runtime'>,
  job: Job,
  sandbox: Sandbox,
): boolean => runtime.caches !== null && job.status === 'completed' && written(job, sandbox).length > 0;

/**
 * Keeps what a completed job has changed of the caches that it writes. Begun anew after a crash it does the same again.
 * @param job as its row is now
 * @throws the reason of `signal`; what fails otherwise is told to the logger
 */
export async function publishCaches(
  { runtime, cachesChanged }: Pick<SupervisionResources, 'runtime' | 'cachesChanged'>,
  job: Job,
  sandbox: Sandbox,
  signal: AbortSignal,
  logger: Logger,
): Promise<void> {
  const { caches } = runtime;
  if (caches === null || !hasWritten({ runtime }, job, sandbox)) return;
  const scope = scopeOf(job);
  const since = job.startingAt ?? job.createdAt;
  for (const [{ name, path }, mount] of written(job, sandbox)) {
    try {
      const key = { owner: job.owner, name, scope };
      await caches.publish({ ...key, jobId: job.id, path, since }, sandbox, mount, signal);
    } catch (error) {
      signal.throwIfAborted();
      logger.warn(
        { err: error, job_id: job.id, cache: name },
        'a cache could not be kept: it stays as it was',
      );
    }
  }
  cachesChanged();
}
