/**
 * Symlinks while files come where a writer can't be locked into the tree: rsync puts a prefix before every target, so
 * that a link leads nowhere, and the seal takes it away. Links that came in another way get it before rsync may write.
 */
import { mkdir } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';
import { TreeBudget, UPLOAD_BUDGET } from '../../trees/budget.ts';
import { Directory, type RawName } from '../../trees/directory.ts';
import { removeTree } from '../../trees/remove-tree.ts';
import { TreeTimes } from '../../trees/times.ts';
import { Scratch } from '../base.ts';
import { checkDepth } from '../tree.ts';

/** What rsync puts before the target of every symlink (rsyncd.conf(5)). */
export const MUNGED_PREFIX = '/rsyncd-munged/';

/** The directory beside a tree in which its links are made anew. */
export const mungingBeside = (tree: string): string => `${tree}.munging`;

/**
 * Gives symlinks that were made harmless their targets back, and their times. Nobody may write into the tree; can be
 * done again. Their directories get another time by it, which is set back here as well.
 * @param times of the whole tree
 * @throws FlashpodsError for a tree that is too deep or too large
 */
export const restoreSymlinks = (tree: Directory, scratch: Scratch, times: TreeTimes): Promise<void> =>
  new Rewriting(scratch, times, (target) =>
    target.startsWith(MUNGED_PREFIX) && target.length > MUNGED_PREFIX.length
      ? target.slice(MUNGED_PREFIX.length)
      : null,
  ).directory(tree, []);

/**
 * Makes every symlink of a tree harmless. Nobody may write into it meanwhile; what is not there is no error.
 * @throws FlashpodsError for a tree that is too deep or too large
 */
export async function mungeSymlinks(path: string): Promise<void> {
  const beside = mungingBeside(path);
  await removeTree(beside);
  await mkdir(beside, { mode: 0o700 });
  const directory = await Directory.open(beside);
  try {
    const tree = await Directory.open(path);
    const times = new TreeTimes(tree);
    try {
      const munged = (target: RawName): RawName | null =>
        target.startsWith(MUNGED_PREFIX) ? null : MUNGED_PREFIX + target;
      await new Rewriting(new Scratch(directory), times, munged).directory(tree, []);
      await times.close();
    } finally {
      await times.abandon();
      await tree.close();
    }
  } finally {
    await directory.close();
    await removeTree(beside);
  }
}

/** Links with other targets in the place of those that are there. */
class Rewriting {
  readonly #scratch: Scratch;
  readonly #times: TreeTimes;
  readonly #change: (target: RawName) => RawName | null;
  readonly #budget = new TreeBudget(UPLOAD_BUDGET);

  /** @param change gives the new target, or null for one that stays */
  constructor(scratch: Scratch, times: TreeTimes, change: (target: RawName) => RawName | null) {
    this.#scratch = scratch;
    this.#times = times;
    this.#change = change;
  }

  async directory(tree: Directory, path: readonly RawName[]): Promise<void> {
    checkDepth(path);
    const below: RawName[] = [];
    const before = await tree.handle.stat({ bigint: true });
    let wasChanged = false;
    for await (const name of tree.names()) {
      this.#budget.entry(name.length);
      const stats = await tree.statExactly(name);
      if (stats.isDirectory()) below.push(name);
      else if (stats.isSymbolicLink()) {
        const isNew = await this.#link(tree, [...path, name], stats);
        wasChanged ||= isNew;
      }
    }
    if (wasChanged) await this.#times.set(path, before.mtimeNs);
    for (const name of below) {
      const child = await tree.openDirectoryByForce(name);
      try {
        await this.directory(child, [...path, name]);
      } finally {
        await child.close();
      }
    }
  }

  async #link(tree: Directory, path: readonly RawName[], { mtimeNs }: BigIntStats): Promise<boolean> {
    const name = path.at(-1) ?? '';
    const target = this.#change(await tree.readLink(name));
    if (target === null) return false;
    const temporary = this.#scratch.newName();
    await this.#scratch.directory.makeSymlink(temporary, target);
    await this.#scratch.directory.rename(temporary, tree, name);
    await this.#times.set(path, mtimeNs);
    return true;
  }
}
