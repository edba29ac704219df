/** An upload that begins with an earlier one: what did not change is stored once, as a hard link to the base's file. */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { FlashpodsError, systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { readFully } from '../files/read-fully.ts';
import { rawName, type Directory, type RawName } from '../trees/directory.ts';
import { inBatches } from '../trees/in-batches.ts';
import type { TreeTimes } from '../trees/times.ts';
import { checkDepth } from './tree.ts';

const PIECE_BYTES = 256 * 1024;

/** A directory beside the tree, where links are made before they take a file's place. */
export class Scratch {
  readonly directory: Directory;
  #names = 0;

  constructor(directory: Directory) {
    this.directory = directory;
  }

  newName(): RawName {
    this.#names += 1;
    return String(this.#names);
  }
}

/**
 * Paths that the caller wants left out of the base, relative, with slashes; a directory stands for all below it.
 * @throws FlashpodsError invalid_request for what is no such path
 */
export const deletionsOf = (paths: readonly string[]): ReadonlySet<RawName> =>
  new Set(
    paths.map((path, index) => {
      const segments = path.replace(/\/+$/, '').split('/');
      if (path.includes('\0') || segments.some((segment) => ['', '.', '..'].includes(segment))) {
        throw new FlashpodsError(
          'invalid_request',
          `delete[${index}]: must be a relative path without . and ..`,
          { details: { field: `delete.${index}` } },
        );
      }
      return rawName(segments.join('/'));
    }),
  );

/**
 * Puts into `tree` what the base has and the tree lacks, without what is in `deletions`. Nobody else may write into
 * either of them. Can be done again after a crash.
 * @param times of `tree`: a directory that was sent keeps its own, though something is put into it
 */
export async function completeFromBase(
  tree: Directory,
  base: Directory,
  deletions: ReadonlySet<RawName>,
  times: TreeTimes,
): Promise<void> {
  const visit = async (to: Directory, from: Directory, path: readonly RawName[]): Promise<void> => {
    checkDepth(path);
    const below: RawName[] = [];
    const { mtimeNs } = await to.handle.stat({ bigint: true });
    await inBatches(from.names(), async (name) => {
      if (deletions.has([...path, name].join('/'))) return;
      if ((await from.stat(name)).isDirectory()) below.push(name);
      else await tolerating('EEXIST', () => to.makeLink(name, from, name));
    });
    for (const name of below) {
      const source = await from.openDirectory(name);
      try {
        const { mode, mtimeNs: itsTime } = await source.handle.stat({ bigint: true });
        const made = await tolerating('EEXIST', () => to.makeDirectory(name, 0o700));
        // Something that was sent may have taken the place of a directory.
        if (!made && !(await to.stat(name)).isDirectory()) continue;
        const target = await to.openDirectory(name);
        try {
          // At once, so that one that a crash leaves half full has its mode.
          if (made) await target.handle.chmod((Number(mode) & 0o777) | 0o700);
          await visit(target, source, [...path, name]);
          if (made) {
            await target.handle.chmod(Number(mode) & 0o777);
            await times.set([...path, name], itsTime);
          }
        } finally {
          await target.close();
        }
      } finally {
        await source.close();
      }
    }
    await times.set(path, mtimeNs);
  };
  await visit(tree, base, []);
}

/**
 * Replaces every file of `tree` that is the same as the base's under its path, in content, mode and time, by a link
 * to that one. Nobody else may write into either of them. Can be done again after a crash.
 */
export async function shareWithBase(
  tree: Directory,
  base: Directory,
  scratch: Scratch,
  times: TreeTimes,
  path: readonly RawName[] = [],
): Promise<void> {
  checkDepth(path);
  const below: RawName[] = [];
  const { mtimeNs } = await tree.handle.stat({ bigint: true });
  await inBatches(tree.names(), async (name) => {
    const mine = await tree.statExactly(name);
    const theirs = await base.statExactly(name).catch(ifMissing(null));
    if (theirs === null) return;
    if (mine.isDirectory() && theirs.isDirectory()) below.push(name);
    if (!mine.isFile() || !theirs.isFile() || mine.ino === theirs.ino || mine.nlink > 1n) return;
    if (mine.size !== theirs.size || (mine.mode & 0o777n) !== (theirs.mode & 0o777n)) return;
    if (mine.mtimeNs !== theirs.mtimeNs) return;
    if (!(await isSameContent(tree, base, name, Number(mine.size)))) return;
    const temporary = scratch.newName();
    await scratch.directory.makeLink(temporary, base, name);
    await scratch.directory.rename(temporary, tree, name);
  });
  for (const name of below) {
    const target = await tree.openDirectory(name);
    const source = await base.openDirectory(name);
    try {
      await shareWithBase(target, source, scratch, times, [...path, name]);
    } finally {
      await target.close();
      await source.close();
    }
  }
  await times.set(path, mtimeNs);
}

/** @param size of both */
async function isSameContent(
  tree: Directory,
  base: Directory,
  name: RawName,
  size: number,
): Promise<boolean> {
  let one: FileHandle | null = null;
  let other: FileHandle | null = null;
  try {
    one = await tree.openFile(name, constants.O_RDONLY);
    other = await base.openFile(name, constants.O_RDONLY);
    const length = Math.min(size, PIECE_BYTES);
    const [a, b] = [Buffer.allocUnsafe(length), Buffer.allocUnsafe(length)];
    for (let position = 0; position < size;) {
      const wanted = Math.min(length, size - position);
      const [mine, theirs] = await Promise.all([
        readFully(one, a.subarray(0, wanted), position),
        readFully(other, b.subarray(0, wanted), position),
      ]);
      if (mine < wanted || theirs < wanted || !a.subarray(0, wanted).equals(b.subarray(0, wanted)))
        return false;
      position += wanted;
    }
    return true;
  } finally {
    await one?.close();
    await other?.close();
  }
}

/** @returns false when it failed with `code` */
async function tolerating(code: string, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (systemCode(error) === code) return false;
    throw error;
  }
}
