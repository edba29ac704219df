import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { isUploadId } from '../ids.ts';
import { ifMissing } from '../files/if-missing.ts';
import type { TreeProcesses } from '../tree-process/tree-processes.ts';
import type { TreeSize } from './tree.ts';
import { idsIn, inodeOf, namesIn, pathOf } from './upload-paths.ts';

/** What a stream found when it began: an empty upload, or files of an earlier one. */
export type Mark = 'first' | 'more';

/** Marks beside a tree; see {@link IncomingTrees}. `copy` and `full` are made by rsync's gate. */
const BESIDE = { unfinished: '.unfinished', full: '.full', copy: '.copy', munging: '.munging' } as const;

/**
 * The trees of uploads while files come, on the disk of the machine that receives them. Every method can be called
 * again after a crash.
 *
 * ```
 * <directory>/<id>             the tree
 *             <id>.unfinished  a stream is being unpacked, or was when its process died: `first` or `more`
 *             <id>.copy        the base, while it is copied for rsync
 *             <id>.munging     links of the tree, while they are made harmless for rsync
 *             <id>.full        the tree began as a copy of the base and lacks nothing of it
 * ```
 */
export class IncomingTrees {
  readonly #directory: string;
  readonly #trees: TreeProcesses;

  constructor(directory: string, trees: TreeProcesses) {
    this.#directory = directory;
    this.#trees = trees;
  }

  path(id: string): string {
    return pathOf(this.#directory, id);
  }

  /** Uploads with a tree. */
  async ids(): Promise<string[]> {
    return (await namesIn(this.#directory)).filter(isUploadId);
  }

  /** Ids of all that lies here, trees and marks, strangers' names included. */
  list(): Promise<string[]> {
    return idsIn(this.#directory, BESIDE);
  }

  /** Makes the tree ready for a stream. The mark comes before the tree: a tree without a mark is whole. */
  async begin(id: string): Promise<Mark> {
    const mark = (await namesIn(this.path(id))).length > 0 ? 'more' : 'first';
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await writeFile(this.#beside(id, 'unfinished'), mark, { mode: 0o600 });
    await mkdir(this.path(id), { recursive: true, mode: 0o755 });
    return mark;
  }

  /** The stream is over, and what there is of the tree counts. */
  async finish(id: string): Promise<void> {
    await rm(this.#beside(id, 'unfinished'), { force: true });
  }

  /** The mark of a stream that is being unpacked, or was when its process died. */
  async unfinished(id: string): Promise<Mark | null> {
    const mark = await readFile(this.#beside(id, 'unfinished'), 'utf8').catch(ifMissing(null));
    return mark === null ? null : mark === 'first' ? 'first' : 'more';
  }

  /** Whether the tree began as a copy of its base. */
  async isFull(id: string): Promise<boolean> {
    return (await inodeOf(this.#beside(id, 'full'))) !== null;
  }

  /** The tree is handed over, or its snapshot came to nothing: one that begins anew is empty. */
  async handedOver(id: string): Promise<void> {
    await rm(this.#beside(id, 'full'), { force: true });
  }

  /** Deletes the tree and its marks. To delete what is not there is no error. */
  async delete(id: string): Promise<void> {
    for (const path of [this.path(id), this.#beside(id, 'copy'), this.#beside(id, 'munging')])
      if ((await inodeOf(path)) !== null) await this.#trees.run('remove', { path });
    await this.handedOver(id);
    await this.finish(id);
  }

  /** What has come; of a tree that changes at this moment, about that. It tells of a tree that may not be, see `TreeSize`. */
  measure(id: string): Promise<TreeSize> {
    return this.#trees.run('measure', { path: this.path(id) });
  }

  /** Makes the links that are in the tree harmless for rsync. Nobody may write into it. @throws FlashpodsError */
  async munge(id: string): Promise<void> {
    await this.#trees.run('munge', { path: this.path(id) });
  }

  #beside(id: string, what: keyof typeof BESIDE): string {
    return `${this.path(id)}${BESIDE[what]}`;
  }
}
