import { open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { readFully } from '../files/read-fully.ts';
import { RECORD_BYTES, logEndAt, viewOf } from './log-index.ts';
import type { StoredLog } from './log-store.ts';

/** More at once only wait for libuv's threads. */
const STATS_AT_ONCE = 32;

export interface LogPaths {
  readonly log: string;
  readonly index: string;
}

/** @throws plain Error for an id that is not a single harmless path segment. */
export const logPaths = (logsDir: string, jobId: string): LogPaths => {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(jobId))
    throw new Error(`not a job id: ${JSON.stringify(jobId)}`);
  return { log: join(logsDir, `${jobId}.log`), index: join(logsDir, `${jobId}.idx`) };
};

/**
 * How many records of the index are backed by a log of `logSize` bytes. Records are in ascending order of
 * `logEnd`, so a torn tail of either file is found by halving.
 */
export const backedRecords = async (index: FileHandle, logSize: number): Promise<number> => {
  const { size } = await index.stat();
  const buffer = Buffer.alloc(RECORD_BYTES);
  const view = viewOf(buffer);
  let low = 0;
  let high = Math.floor(size / RECORD_BYTES);
  // The last record is the answer nearly always.
  let middle = high - 1;
  while (low < high) {
    await readFully(index, buffer, middle * RECORD_BYTES);
    if (logEndAt(view, 0) <= logSize) low = middle + 1;
    else high = middle;
    middle = Math.floor((low + high) / 2);
  }
  return low;
};

/**
 * Size of a job's log: `bytes` that can be read, `diskBytes` that log and index take together.
 * @returns null when there is no log.
 */
export const logSize = async (
  logsDir: string,
  jobId: string,
): Promise<{ bytes: number; diskBytes: number } | null> => {
  const paths = logPaths(logsDir, jobId);
  try {
    const index = await open(paths.index, 'r');
    try {
      const [log, indexStat] = [await stat(paths.log), await index.stat()];
      const records = await backedRecords(index, log.size);
      const buffer = Buffer.alloc(RECORD_BYTES);
      if (records > 0) await readFully(index, buffer, (records - 1) * RECORD_BYTES);
      return { bytes: logEndAt(viewOf(buffer), 0), diskBytes: log.size + indexStat.size };
    } finally {
      await index.close();
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
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
        const jobId = /^(\w[\w-]*)\.(?:log|idx)$/.exec(name)?.[1];
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

/** Deletes a job's log and index. Deleting what is not there is no error. */
export const deleteLog = async (logsDir: string, jobId: string): Promise<void> => {
  const paths = logPaths(logsDir, jobId);
  await rm(paths.log, { force: true });
  await rm(paths.index, { force: true });
};
