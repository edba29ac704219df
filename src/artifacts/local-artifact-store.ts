import { constants } from 'node:fs';
import { lstat, mkdir, opendir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { FlashpodsError, systemCode } from '../errors.ts';
import { type TreeProcesses, TreeProcessLost, treeProcesses } from '../tree-process/tree-processes.ts';
import { OverBudget } from '../trees/budget.ts';
import { Directory, rawName } from '../trees/directory.ts';
import { ifMissing } from '../files/if-missing.ts';
import { parseArtifactName } from './artifact-name.ts';
import type { ArtifactStore, CollectRequest, OpenArtifact, StoredArtifacts } from './artifact-store.ts';
import { collectArtifacts, putInPlace } from './collector.ts';
import type { Manifest } from './manifest.ts';

const READ_BYTES = 256 * 1024;

/** Artifacts in one directory: `<jobId>/` with the files and a manifest, `.<jobId>.partial` while it is collected. */
export class LocalArtifactStore implements ArtifactStore {
  readonly #directory: string;

  readonly #trees: TreeProcesses;
  /** Collections under way, by their destination: the second of two waits for the first. */
  readonly #underWay = new Map<string, Promise<unknown>>();

  /** @param directory made when the first collection is */
  constructor(directory: string, trees = treeProcesses()) {
    this.#directory = directory;
    this.#trees = trees;
  }

  async collect(jobId: string, request: CollectRequest): Promise<Manifest> {
    const destination = this.#path(jobId);
    while (this.#underWay.has(destination)) await this.#underWay.get(destination)?.catch(() => undefined);
    const collecting = this.#collect(jobId, destination, request);
    this.#underWay.set(destination, collecting);
    try {
      return await collecting;
    } finally {
      this.#underWay.delete(destination);
    }
  }

  async #collect(
    jobId: string,
    destination: string,
    { signal, ...request }: CollectRequest,
  ): Promise<Manifest> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    try {
      // Most jobs leave nothing: no process is needed to see that.
      const manifest =
        request.work === undefined && (await isEmpty(request.source))
          ? await collectArtifacts(destination, { ...request, signal })
          : await this.#trees.run('collect', { destination, request }, { signal });
      await putInPlace(destination);
      return manifest;
    } catch (error) {
      if (!(error instanceof OverBudget || error instanceof TreeProcessLost)) throw error;
      // Its process died. What it left can't be used, and goes now or with the job.
      await this.#trees.run('remove', { path: this.#path(jobId, '.', '.partial') }).catch(() => undefined);
      const reason = error instanceof OverBudget ? `${error.reason}.` : error.message;
      throw new FlashpodsError('artifact_copy_failed', `The artifacts could not be collected: ${reason}`, {
        cause: error,
      });
    }
  }

  async expect(source: string): Promise<void> {
    if (!(await isEmpty(source))) this.#trees.warm();
  }

  /** No symlink is followed. */
  async open(jobId: string, name: string): Promise<OpenArtifact | null> {
    const path = parseArtifactName(name).split('/').map(rawName);
    const file = path.pop() ?? '';
    try {
      const root = await Directory.open(this.#path(jobId));
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
  }

  async list(): Promise<StoredArtifacts[]> {
    const stored = new Map<string, StoredArtifacts>();
    for (const name of await readdir(this.#directory).catch(ifMissing([]))) {
      const jobId = /^(\w[\w-]*)$|^\.(\w[\w-]*)\.partial$/.exec(name)?.slice(1).find(Boolean);
      if (jobId === undefined) continue;
      const stats = await lstat(join(this.#directory, name)).catch(ifMissing(null));
      if (stats === null) continue;
      const changedAt = Math.max(stats.mtimeMs, stored.get(jobId)?.changedAt ?? 0);
      stored.set(jobId, { jobId, changedAt });
    }
    return [...stored.values()];
  }

  async delete(jobId: string): Promise<void> {
    for (const path of [this.#path(jobId), this.#path(jobId, '.', '.partial')])
      if (await isThere(path)) await this.#trees.run('remove', { path });
  }

  #path(jobId: string, prefix = '', suffix = ''): string {
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(jobId))
      throw new Error(`not a job id: ${JSON.stringify(jobId)}`);
    return join(this.#directory, `${prefix}${jobId}${suffix}`);
  }
}

/** What can't be read is not: the collector says why. */
async function isEmpty(path: string): Promise<boolean> {
  try {
    const directory = await opendir(path);
    try {
      return (await directory.read()) === null;
    } finally {
      await directory.close();
    }
  } catch {
    return false;
  }
}

const isThere = (path: string): Promise<boolean> => lstat(path).then(() => true, ifMissing(false));

const openRegular = async (directory: Directory, file: string): Promise<OpenArtifact | null> => {
  const handle = await directory.openFile(file, constants.O_RDONLY);
  try {
    const stats = await handle.stat();
    if (stats.isFile()) {
      return {
        sizeBytes: stats.size,
        read: ({ first, last } = { first: 0, last: Infinity }): Readable =>
          handle.createReadStream({ start: first, end: last, highWaterMark: READ_BYTES }),
        close: () => handle.close(),
      };
    }
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  return null;
};
