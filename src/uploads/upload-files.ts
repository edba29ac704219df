import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { systemCode } from '../errors.ts';
import { isUploadId } from '../ids.ts';
import { measureTree, removeTree, settleTree, type TreeFacts, type TreeOwner } from './tree.ts';

/** Where an upload's snapshot lies. It is there from finalization until the upload's files are deleted. */
export const snapshotPath = (uploadsPath: string, id: string): string => pathOf(uploadsPath, 'snapshots', id);

/** What a stream found when it began: an empty upload, or files of an earlier one. */
export type Mark = 'first' | 'more';

const UNFINISHED = '.unfinished';

/**
 * The files of uploads. Every method can be called again after a crash.
 *
 * ```
 * <uploadsPath>/incoming/<id>             the tree while files come
 *               incoming/<id>.unfinished  a stream is being unpacked, or was when its process died: `first` or `more`
 *               snapshots/<id>            the immutable tree
 * ```
 */
export class UploadFiles {
  readonly #root: string;

  constructor(uploadsPath: string) {
    this.#root = uploadsPath;
  }

  incoming(id: string): string {
    return pathOf(this.#root, 'incoming', id);
  }

  snapshot(id: string): string {
    return snapshotPath(this.#root, id);
  }

  hasIncoming(id: string): Promise<boolean> {
    return exists(this.incoming(id));
  }

  hasSnapshot(id: string): Promise<boolean> {
    return exists(this.snapshot(id));
  }

  /** Makes the tree ready for a stream. The mark comes before the tree: a tree without a mark is whole. */
  async begin(id: string): Promise<Mark> {
    const mark = (await this.hasIncoming(id)) ? 'more' : 'first';
    await mkdir(join(this.#root, 'incoming'), { recursive: true, mode: 0o700 });
    await writeFile(this.#mark(id), mark, { mode: 0o600 });
    await mkdir(this.incoming(id), { recursive: true, mode: 0o755 });
    return mark;
  }

  /** The stream is over, and what there is of the tree counts. */
  async finish(id: string): Promise<void> {
    await rm(this.#mark(id), { force: true });
  }

  /** The mark of a stream that is being unpacked, or was when its process died. */
  async unfinished(id: string): Promise<Mark | null> {
    try {
      return (await readFile(this.#mark(id), 'utf8')) === 'first' ? 'first' : 'more';
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    }
  }

  async removeIncoming(id: string): Promise<void> {
    await removeTree(this.incoming(id));
    await rm(this.#mark(id), { force: true });
  }

  async remove(id: string): Promise<void> {
    await this.removeIncoming(id);
    await removeTree(this.snapshot(id));
  }

  /**
   * Takes the tree out of the reach of whoever writes to it, settles and measures it.
   * @throws FlashpodsError invalid_request for a tree that may not become a snapshot
   */
  async seal(id: string, owner: TreeOwner | null): Promise<TreeFacts> {
    await mkdir(join(this.#root, 'snapshots'), { recursive: true, mode: 0o700 });
    if (!(await this.hasSnapshot(id))) {
      await mkdir(this.incoming(id), { recursive: true, mode: 0o755 });
      await rename(this.incoming(id), this.snapshot(id));
    }
    return settleTree(this.snapshot(id), owner);
  }

  removeSnapshot(id: string): Promise<void> {
    return removeTree(this.snapshot(id));
  }

  /** Bytes of the trees that are not snapshots yet, by upload. */
  async incomingBytes(): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for (const name of await list(join(this.#root, 'incoming'))) {
      if (!isUploadId(name)) continue;
      try {
        sizes.set(name, (await measureTree(this.incoming(name))).sizeBytes);
      } catch (error) {
        // Another process deleted it meanwhile.
        if (systemCode(error) !== 'ENOENT') throw error;
      }
    }
    return sizes;
  }

  /** Everything that lies where uploads do, with the id that it would belong to. */
  async entries(): Promise<{ path: string; id: string }[]> {
    const found: { path: string; id: string }[] = [];
    for (const directory of ['incoming', 'snapshots'].map((name) => join(this.#root, name))) {
      for (const name of await list(directory)) {
        found.push({ path: join(directory, name), id: basename(name, UNFINISHED) });
      }
    }
    return found;
  }

  #mark(id: string): string {
    return `${this.incoming(id)}${UNFINISHED}`;
  }
}

function pathOf(root: string, directory: string, id: string): string {
  if (!isUploadId(id)) throw new Error(`not an upload's id: ${JSON.stringify(id)}`);
  return join(root, directory, id);
}

const list = (directory: string): Promise<string[]> =>
  readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}
