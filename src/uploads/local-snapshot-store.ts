import { rename } from 'node:fs/promises';
import { ifMissing } from '../files/if-missing.ts';
import { type TreeProcesses, treeProcesses } from '../tree-process/tree-processes.ts';
import { BESIDE, SnapshotDirectory } from './snapshot-directory.ts';
import type { SealOptions, SnapshotStore } from './snapshot-store.ts';
import type { TreeFacts, TreeIds } from './tree.ts';
import { idsIn, inodeOf } from './upload-paths.ts';

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
  readonly #directory: SnapshotDirectory;
  readonly #trees: TreeProcesses;

  /** @param ids uid and gid that the files are given to: root of the containers. Null: they stay ours */
  constructor(directory: string, ids: TreeIds | null, trees = treeProcesses()) {
    this.#directory = new SnapshotDirectory(directory, ids);
    this.#trees = trees;
  }

  has(id: string): Promise<boolean> {
    return this.#directory.has(id);
  }

  seal(id: string, tree: string, options: SealOptions): Promise<TreeFacts> {
    const { path: directory, ids } = this.#directory;
    return this.#trees.run('seal', { ...options, directory, ids, id, tree });
  }

  async materialise(id: string): Promise<string> {
    const { of, tree } = { of: this.#directory.of(id), tree: this.#directory.tree(id) };
    // A bind of a job that runs goes on: it is of the directory and not of its name.
    if ((await inodeOf(tree)) === null && (await inodeOf(of)) !== null)
      await this.#directory.takeOver(id, of);
    return tree;
  }

  async delete(id: string): Promise<void> {
    const going = this.#directory.beside(id, 'going');
    await this.#remove(going);
    for (const path of [this.#directory.beside(id, 'layer'), this.#directory.of(id)]) {
      await rename(path, going).catch(ifMissing(undefined));
      await this.#remove(going);
    }
    await this.#remove(this.#directory.beside(id, 'scratch'));
  }

  list(): Promise<string[]> {
    return idsIn(this.#directory.path, BESIDE);
  }

  async #remove(path: string): Promise<void> {
    if ((await inodeOf(path)) !== null) await this.#trees.run('remove', { path });
  }
}
