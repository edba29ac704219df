import { chown, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { FlashpodsError, systemCode } from '../errors.ts';
import { Directory } from '../trees/directory.ts';
import { TreeTimes } from '../trees/times.ts';
import { ifMissing } from '../files/if-missing.ts';
import { removeTree } from '../trees/remove-tree.ts';
import { completeFromBase, Scratch, shareWithBase } from './base.ts';
import { restoreSymlinks } from './rsync/munged.ts';
import type { Base, SealOptions, SnapshotStore } from './snapshot-store.ts';
import { settleTree, type TreeFacts, type TreeIds } from './tree.ts';
import { idsIn, inodeOf, pathOf } from './upload-paths.ts';

const BESIDE = { layer: '.layer', scratch: '.links', going: '.going' } as const;
/** As which it becomes a layer of a job's root file system: what is beside it there would be seen as well. */
const TREE = 'work';

/**
 * Snapshots in one directory, on the file system on which files come in.
 *
 * ```
 * <directory>/<id>.layer/work  the immutable tree, and nothing else is in that directory
 *             <id>             a tree of an earlier version, until a job wants it
 *             <id>.links       links on their way into the tree
 *             <id>.going       the tree while it is deleted
 * ```
 */
export class LocalSnapshotStore implements SnapshotStore {
  readonly #directory: string;
  readonly #ids: TreeIds | null;

  /** @param ids uid and gid that the files are given to: root of the containers. Null: they stay ours */
  constructor(directory: string, ids: TreeIds | null) {
    this.#directory = directory;
    this.#ids = ids;
  }

  async has(id: string): Promise<boolean> {
    return (await inodeOf(this.#tree(id))) !== null || (await inodeOf(this.#path(id))) !== null;
  }

  async seal(id: string, tree: string, { base, munged }: SealOptions): Promise<TreeFacts> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    if (!(await this.has(id))) {
      await mkdir(tree, { recursive: true, mode: 0o755 });
      await this.#takeOver(id, tree);
    }
    if (base !== null || munged) await this.#complete(id, base, munged);
    return settleTree(await this.#found(id), this.#ids);
  }

  async materialise(id: string): Promise<string> {
    // A bind of a job that runs goes on: it is of the directory and not of its name.
    if ((await inodeOf(this.#tree(id))) === null && (await inodeOf(this.#path(id))) !== null)
      await this.#takeOver(id, this.#path(id));
    return this.#tree(id);
  }

  async #takeOver(id: string, tree: string): Promise<void> {
    const layer = `${this.#path(id)}${BESIDE.layer}`;
    await mkdir(layer, { recursive: true, mode: 0o755 });
    if (this.#ids !== null) await chown(layer, this.#ids.uid, this.#ids.gid);
    await rename(tree, this.#tree(id)).catch(async (error: unknown) => {
      // Several jobs may want a reusable one at once.
      if (systemCode(error) !== 'ENOENT' || (await inodeOf(this.#tree(id))) === null) throw error;
    });
  }

  async delete(id: string): Promise<void> {
    const going = `${this.#path(id)}${BESIDE.going}`;
    await removeTree(going);
    for (const path of [`${this.#path(id)}${BESIDE.layer}`, this.#path(id)]) {
      await rename(path, going).catch(ifMissing(undefined));
      await removeTree(going);
    }
    await removeTree(`${this.#path(id)}${BESIDE.scratch}`);
  }

  list(): Promise<string[]> {
    return idsIn(this.#directory, BESIDE);
  }

  async #complete(id: string, base: Base | null, munged: boolean): Promise<void> {
    const path = `${this.#path(id)}${BESIDE.scratch}`;
    await removeTree(path);
    await mkdir(path, { mode: 0o700 });
    const directory = await Directory.open(path);
    const tree = await Directory.open(await this.#found(id));
    const times = new TreeTimes(tree);
    try {
      const scratch = new Scratch(directory);
      if (munged) await restoreSymlinks(tree, scratch, times);
      if (base !== null) await this.#layOver(tree, base, scratch, times);
      await times.close();
    } finally {
      await times.abandon();
      await tree.close();
      await directory.close();
      await removeTree(path);
    }
  }

  async #layOver(tree: Directory, base: Base, scratch: Scratch, times: TreeTimes): Promise<void> {
    const gone = (): FlashpodsError =>
      new FlashpodsError('upload_expired', 'The base of this upload is gone; create an upload without one.');
    const path = await this.#found(base.id);
    const before = await inodeOf(path);
    if (before === null) throw gone();
    try {
      const from = await Directory.open(path);
      try {
        if (base.isFull) await shareWithBase(tree, from, scratch, times);
        else await completeFromBase(tree, from, base.deletions, times);
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

  #tree(id: string): string {
    return join(`${this.#path(id)}${BESIDE.layer}`, TREE);
  }

  /** Where the tree is, in the way of this version if it is nowhere. */
  async #found(id: string): Promise<string> {
    const isOld = (await inodeOf(this.#tree(id))) === null && (await inodeOf(this.#path(id))) !== null;
    return isOld ? this.#path(id) : this.#tree(id);
  }

  #path(id: string): string {
    return pathOf(this.#directory, id);
  }
}
