import { constants } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import { Directory, rawName } from '../trees/directory.ts';
import { ifMissing } from '../files/if-missing.ts';
import { removeTree } from '../trees/remove-tree.ts';
import { parseArtifactName } from './artifact-name.ts';

export interface OpenArtifact {
  /** For reading; close it (a stream made of it does). */
  readonly handle: FileHandle;
  readonly size: number;
}

const jobDirectory = (artifactsDir: string, jobId: string, prefix = '', suffix = ''): string => {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(jobId))
    throw new Error(`not a job id: ${JSON.stringify(jobId)}`);
  return join(artifactsDir, `${prefix}${jobId}${suffix}`);
};

/**
 * Opens a stored artifact. No symlink is followed. @returns null when there is none of that name
 * @throws FlashpodsError invalid_artifact_name
 */
export const openArtifact = async (
  artifactsDir: string,
  jobId: string,
  name: string,
): Promise<OpenArtifact | null> => {
  const path = parseArtifactName(name).split('/').map(rawName);
  const file = path.pop() ?? '';
  try {
    const root = await Directory.open(jobDirectory(artifactsDir, jobId));
    try {
      const directory = await root.descend(path);
      try {
        return await openRegular(directory, file);
      } finally {
        await directory.close();
      }
    } finally {
      await root.close();
    }
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) return null;
    throw error;
  }
};

/** Deletes all that is stored of a job's artifacts. Deleting what is not there is no error. */
export const deleteArtifacts = async (artifactsDir: string, jobId: string): Promise<void> => {
  await removeTree(jobDirectory(artifactsDir, jobId));
  await removeTree(jobDirectory(artifactsDir, jobId, '.', '.partial'));
};

export interface StoredArtifacts {
  readonly jobId: string;
  /** When the collection was last changed, milliseconds since the Unix epoch. */
  readonly changedAt: number;
}

/**
 * The jobs of which artifacts are stored, whole or half collected, in no order; none when there is no such directory.
 */
export const storedArtifacts = async (artifactsDir: string): Promise<StoredArtifacts[]> => {
  const stored = new Map<string, StoredArtifacts>();
  for (const name of await readdir(artifactsDir).catch(ifMissing([]))) {
    const jobId = /^(\w[\w-]*)$|^\.(\w[\w-]*)\.partial$/.exec(name)?.slice(1).find(Boolean);
    if (jobId === undefined) continue;
    const stats = await lstat(join(artifactsDir, name)).catch(ifMissing(null));
    if (stats === null) continue;
    const changedAt = Math.max(stats.mtimeMs, stored.get(jobId)?.changedAt ?? 0);
    stored.set(jobId, { jobId, changedAt });
  }
  return [...stored.values()];
};

const openRegular = async (directory: Directory, file: string): Promise<OpenArtifact | null> => {
  const handle = await directory.openFile(file, constants.O_RDONLY);
  try {
    const stats = await handle.stat();
    if (stats.isFile()) return { handle, size: stats.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  return null;
};
