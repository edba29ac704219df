import { lstat, rmdir, unlink } from 'node:fs/promises';
import { systemCode } from '../errors.ts';
import { Directory, type RawName } from './directory.ts';

const PARALLEL = 16;
/** Deeper directories are moved up first: neither handles nor the length of a path run out. */
const MAX_DEPTH = 32;

/**
 * Removes a tree of any modes, names and depth, and never anything outside: symlinks are removed, not
 * followed. What is not there is no error. Interrupted, it can be called again.
 */
export const removeTree = async (path: string): Promise<void> => {
  try {
    if ((await lstat(path)).isDirectory()) {
      const root = await Directory.open(path);
      try {
        await new Removal(root).empty(root, 0);
      } finally {
        await root.close();
      }
      await rmdir(path);
    } else await unlink(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
};

class Removal {
  readonly #root: Directory;
  #moved = 0;

  constructor(root: Directory) {
    this.#root = root;
  }

  async empty(directory: Directory, depth: number): Promise<void> {
    const { mode } = await directory.handle.stat();
    if ((mode & 0o700) !== 0o700) await directory.handle.chmod(0o700);
    // What was moved up meanwhile, or slipped the listing, is found by listing again.
    for (;;) {
      let batch: RawName[] = [];
      let seen = 0;
      for await (const name of directory.names()) {
        seen++;
        batch.push(name);
        if (batch.length < PARALLEL) continue;
        await this.#removeAll(directory, batch, depth);
        batch = [];
      }
      await this.#removeAll(directory, batch, depth);
      if (seen === 0) return;
    }
  }

  async #removeAll(directory: Directory, names: readonly RawName[], depth: number): Promise<void> {
    const kinds = await Promise.all(names.map((name) => removeFile(directory, name)));
    for (const [i, name] of names.entries()) {
      if (kinds[i] === 'directory') await this.#removeDirectory(directory, name, depth);
    }
  }

  async #removeDirectory(parent: Directory, name: RawName, depth: number): Promise<void> {
    const directory = await parent.openDirectoryByForce(name);
    try {
      if (depth < MAX_DEPTH) await this.empty(directory, depth + 1);
      else {
        await directory.handle.chmod(0o700);
        await parent.rename(name, this.#root, `.removed-${process.pid}-${++this.#moved}`);
        return;
      }
    } finally {
      await directory.close();
    }
    await parent.removeDirectory(name);
  }
}

const removeFile = async (directory: Directory, name: RawName): Promise<'removed' | 'directory'> => {
  try {
    await directory.unlink(name);
    return 'removed';
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return 'removed';
    if (code === 'EISDIR') return 'directory';
    if (code === 'EPERM' && (await directory.stat(name)).isDirectory()) return 'directory';
    throw error;
  }
};
