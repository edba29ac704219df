import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { allPaths, closeParts, jobOfLogFile, logPaths, openParts } from './log-parts.ts';
import type { StoredLog } from './log-store.ts';

/** More at once only wait for libuv's threads. */
const STATS_AT_ONCE = 32;

/**
 * Size of a job's log: `bytes` as it would be with all that was left out, `diskBytes` that its files take together.
 * @returns null when there is no log.
 */
export const logSize = async (
  logsDir: string,
  jobId: string,
): Promise<{ bytes: number; diskBytes: number } | null> => {
  const paths = logPaths(logsDir, jobId);
  try {
    const parts = await openParts(paths);
    if (parts === null) return null;
    await closeParts(parts);
    let diskBytes = 0;
    for (const path of allPaths(paths)) diskBytes += (await stat(path).catch(ifMissing(null)))?.size ?? 0;
    return { bytes: parts.at(-1)?.end ?? 0, diskBytes };
  } catch (error) {
    throw new Error(`the log of job ${jobId} could not be measured (${systemCode(error) ?? 'unknown'})`, {
      cause: error,
    });
  }
};

/** Every log of the directory, in no order; none when there is no such directory. Other files are left out. */
export const storedLogs = async (logsDir: string): Promise<StoredLog[]> => {
  const logs = new Map<string, StoredLog>();
  const names = await readdir(logsDir).catch(ifMissing([]));
  for (let first = 0; first < names.length; first += STATS_AT_ONCE) {
    await Promise.all(
      names.slice(first, first + STATS_AT_ONCE).map(async (name) => {
        const jobId = jobOfLogFile(name);
        if (jobId === undefined) return;
        // Deleted meanwhile: counted as nothing.
        const stats = await stat(join(logsDir, name)).catch(ifMissing(null));
        if (stats === null) return;
        const { diskBytes = 0, changedAt = 0 } = logs.get(jobId) ?? {};
        logs.set(jobId, {
          jobId,
          diskBytes: diskBytes + stats.size,
          changedAt: Math.max(changedAt, stats.mtimeMs),
        });
      }),
    );
  }
  return [...logs.values()];
};

/** Deletes all files of a job's log. Deleting what is not there is no error. */
export const deleteLog = async (logsDir: string, jobId: string): Promise<void> => {
  for (const path of allPaths(logPaths(logsDir, jobId))) await rm(path, { force: true });
};
