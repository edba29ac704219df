import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FlashpodsError, systemCode } from '../errors.ts';
import { isUploadId } from '../ids.ts';
import { Directory } from '../trees/directory.ts';
import type { RawName } from '../trees/directory.ts';
import { completeFromBase, Scratch, shareWithBase } from './base.ts';
import { restoreSymlinks } from './munged.ts';
import { measureTree, removeTree, settleTree, type TreeFacts, type TreeOwner } from './tree.ts';

/** Where an upload's snapshot lies. It is there from finalization until the upload's files are deleted. */
export const snapshotPath = (uploadsPath: string, id: string): string => pathOf(uploadsPath, 'snapshots', id);

/** What a stream found when it began: an empty upload, or files of an earlier one. */
export type Mark = 'first' | 'more';

/** What a snapshot begins with. */
export interface Base {
  readonly id: string;
  readonly deletions: ReadonlySet<RawName>;
}

/** Marks beside a tree; see {@link UploadFiles}. `copy` is made by rsync-gate.sh. */
const BESIDE = {
  unfinished: '.unfinished',
  full: '.full',
  copy: '.copy',
  scratch: '.links',
  going: '.going',
} as const;

/**
 * The files of uploads. Every method can be called again after a crash.
 *
 * ```
 * <uploadsPath>/incoming/<id>             the tree while files come
 *               incoming/<id>.unfinished  a stream is being unpacked, or was when its process died: `first` or `more`
 *               incoming/<id>.copy        the base, while it is copied for rsync
 *               incoming/<id>.full        the tree began as a copy of the base and lacks nothing of it
 *               snapshots/<id>            the immutable tree
 *               snapshots/<id>.links      links on their way into the tree
 *               snapshots/<id>.going      the tree while it is deleted
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

  /** Whether files of the upload have come. */
  async hasIncoming(id: string): Promise<boolean> {
    return (await list(this.incoming(id))).length > 0;
  }

  /** Uploads with a directory for their files. */
  async incomingIds(): Promise<string[]> {
    const entries = await list(join(this.#root, 'incoming'));
    return entries.filter(isUploadId);
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
    await removeTree(`${this.incoming(id)}${BESIDE.copy}`);
    await rm(`${this.incoming(id)}${BESIDE.full}`, { force: true });
    await rm(this.#mark(id), { force: true });
  }

  async remove(id: string): Promise<void> {
    await this.removeIncoming(id);
    await this.removeSnapshot(id);
  }

  /**
   * Takes the tree out of the reach of whoever writes to it, lays it over its base, settles and measures it.
   * @param munged whether symlinks that rsync made harmless may be in it
   * @throws FlashpodsError invalid_request for a tree that may not become a snapshot, upload_expired when its base
   *   is gone
   */
  async seal(
    id: string,
    owner: TreeOwner | null,
    { base, munged }: { base: Base | null; munged: boolean },
  ): Promise<TreeFacts> {
    await mkdir(join(this.#root, 'snapshots'), { recursive: true, mode: 0o700 });
    if (!(await this.hasSnapshot(id))) {
      await mkdir(this.incoming(id), { recursive: true, mode: 0o755 });
      await rename(this.incoming(id), this.snapshot(id));
    }
    if (base !== null || munged) await this.#complete(id, base, munged);
    return settleTree(this.snapshot(id), owner);
  }

  async #complete(id: string, base: Base | null, munged: boolean): Promise<void> {
    const path = `${this.snapshot(id)}${BESIDE.scratch}`;
    await removeTree(path);
    await mkdir(path, { mode: 0o700 });
    const directory = await Directory.open(path);
    const tree = await Directory.open(this.snapshot(id));
    try {
      const scratch = new Scratch(directory);
      if (munged) await restoreSymlinks(tree, scratch);
      if (base !== null) await this.#layOver(id, tree, base, scratch);
    } finally {
      await tree.close();
      await directory.close();
      await removeTree(path);
    }
  }

  async #layOver(id: string, tree: Directory, base: Base, scratch: Scratch): Promise<void> {
    const gone = (): FlashpodsError =>
      new FlashpodsError('upload_expired', 'The base of this upload is gone; create an upload without one.');
    const path = this.snapshot(base.id);
    const before = await inodeOf(path);
    if (before === null) throw gone();
    try {
      const from = await Directory.open(path);
      try {
        if (await this.isFull(id)) await shareWithBase(tree, from, scratch);
        else await completeFromBase(tree, from, base.deletions);
      } finally {
        await from.close();
      }
    } catch (error) {
      if (systemCode(error) === 'ENOENT' && (await inodeOf(path)) !== before) throw gone();
      throw error;
    }
    // A snapshot leaves its name before anything of it is deleted: under its name it was whole.
    if ((await inodeOf(path)) !== before) throw gone();
  }

  /** The tree began as a copy of its base. */
  isFull(id: string): Promise<boolean> {
    return exists(`${this.incoming(id)}${BESIDE.full}`);
  }

  /** The snapshot's row is written. */
  async sealed(id: string): Promise<void> {
    await rm(`${this.incoming(id)}${BESIDE.full}`, { force: true });
  }

  async removeSnapshot(id: string): Promise<void> {
    const going = `${this.snapshot(id)}${BESIDE.going}`;
    await removeTree(going);
    try {
      await rename(this.snapshot(id), going);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
    await removeTree(going);
    await removeTree(`${this.snapshot(id)}${BESIDE.scratch}`);
    await this.sealed(id);
  }

  /** Bytes of the trees that are not snapshots yet, by upload. */
  async incomingBytes(): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for (const id of await this.incomingIds()) sizes.set(id, await this.measureIncoming(id));
    return sizes;
  }

  /** Bytes of the files that have come; of a tree that changes at this moment, about as many. */
  async measureIncoming(id: string): Promise<number> {
    return (await measureTree(this.incoming(id))).sizeBytes;
  }

  /** Everything that lies where uploads do, with the id that it would belong to. */
  async entries(): Promise<{ path: string; id: string }[]> {
    const found: { path: string; id: string }[] = [];
    for (const directory of ['incoming', 'snapshots'].map((name) => join(this.#root, name))) {
      for (const name of await list(directory)) {
        found.push({ path: join(directory, name), id: name.replace(SUFFIX, '') });
      }
    }
    return found;
  }

  #mark(id: string): string {
    return `${this.incoming(id)}${BESIDE.unfinished}`;
  }
}

const SUFFIX = new RegExp(`(${Object.values(BESIDE).join('|').replaceAll('.', '\\.')})$`);

function pathOf(root: string, directory: string, id: string): string {
  if (!isUploadId(id)) throw new Error(`not an upload's id: ${JSON.stringify(id)}`);
  return join(root, directory, id);
}

const list = (directory: string): Promise<string[]> =>
  readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });

const exists = async (path: string): Promise<boolean> => (await inodeOf(path)) !== null;

async function inodeOf(path: string): Promise<number | null> {
  try {
    return (await lstat(path)).ino;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}
