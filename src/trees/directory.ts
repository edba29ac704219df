import { chmod, constants as fs, lchown, link, lstat, mkdir, open, opendir } from 'node:fs/promises';
import { readlink, rename, rmdir, symlink, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { BigIntStats, Dirent, Stats } from 'node:fs';
import { systemCode } from '../errors.ts';

/** `O_PATH` of Linux, which Node does not name: a handle that names a file and neither reads nor wakes it. */
const O_PATH = 0o10000000;

/**
 * A file's name as the bytes that the file system holds, one character a byte ('latin1'): names need not be
 * UTF-8.
 */
export type RawName = string;

export const rawName = (text: string): RawName => Buffer.from(text).toString('latin1');
export const bytesOfName = (name: RawName): Buffer => Buffer.from(name, 'latin1');

/**
 * An open directory of a tree that somebody hostile may have made or may be changing at this moment. Everything
 * is reached through handles, one segment at a time, and a symlink is never followed: no matter what is
 * swapped meanwhile, nothing outside the tree is read or written. Close it.
 */
export class Directory {
  readonly handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.handle = handle;
  }

  /** Opens the root of a tree; its own path is trusted, but it must not be a symlink itself. */
  static async open(path: string): Promise<Directory> {
    return new Directory(await open(path, fs.O_RDONLY | fs.O_DIRECTORY | fs.O_NOFOLLOW));
  }

  /** Opens a directory some segments below. @throws ENOENT, ENOTDIR or ELOOP when it is not one */
  async descend(path: readonly RawName[]): Promise<Directory> {
    let current = await this.#openSelf();
    for (const segment of path) {
      const parent = current;
      try {
        current = await parent.openDirectory(segment);
      } finally {
        await parent.close();
      }
    }
    return current;
  }

  async openDirectory(name: RawName): Promise<Directory> {
    return new Directory(await this.openFile(name, fs.O_RDONLY | fs.O_DIRECTORY));
  }

  /** Like `openDirectory`, but gives its owner read, write and search permission first where they lack. */
  async openDirectoryByForce(name: RawName): Promise<Directory> {
    try {
      return await this.openDirectory(name);
    } catch (error) {
      if (systemCode(error) !== 'EACCES') throw error;
      await this.chmod(name, 0o700);
      return await this.openDirectory(name);
    }
  }

  /** Never follows a symlink, never waits for a FIFO, never takes a terminal. Look at what was opened. */
  openFile(name: RawName, flags: number, mode?: number): Promise<FileHandle> {
    return open(this.#path(name), flags | fs.O_NOFOLLOW | fs.O_NONBLOCK | fs.O_NOCTTY, mode);
  }

  /** With times to the nanosecond. */
  statExactly(name: RawName): Promise<BigIntStats> {
    return lstat(this.#path(name), { bigint: true });
  }

  stat(name: RawName): Promise<Stats> {
    return lstat(this.#path(name));
  }

  async readLink(name: RawName): Promise<RawName> {
    return (await readlink(this.#path(name), { encoding: 'buffer' })).toString('latin1');
  }

  /** The names in it, in the file system's order. */
  async *names(): AsyncGenerator<RawName> {
    for await (const { name } of this.listing()) yield name;
  }

  /** What is in it, in the file system's order, with the types that the file system tells without a look at each. */
  async *listing(): AsyncGenerator<Dirent> {
    yield* await opendir(`/proc/self/fd/${this.handle.fd}`, { encoding: 'latin1', bufferSize: 256 });
  }

  async makeDirectory(name: RawName, mode: number): Promise<void> {
    await mkdir(this.#path(name), mode);
  }

  makeSymlink(name: RawName, target: RawName): Promise<void> {
    return symlink(bytesOfName(target), this.#path(name));
  }

  makeLink(name: RawName, existing: Directory, existingName: RawName): Promise<void> {
    return link(existing.#path(existingName), this.#path(name));
  }

  rename(name: RawName, to: Directory, newName: RawName): Promise<void> {
    return rename(this.#path(name), to.#path(newName));
  }

  unlink(name: RawName): Promise<void> {
    return unlink(this.#path(name));
  }

  removeDirectory(name: RawName): Promise<void> {
    return rmdir(this.#path(name));
  }

  chown(name: RawName, uid: number, gid: number): Promise<void> {
    return lchown(this.#path(name), uid, gid);
  }

  /** Changes the mode of what is not a symlink. Needs no permission on it but to own it. */
  async chmod(name: RawName, mode: number): Promise<void> {
    const handle = await this.openFile(name, O_PATH);
    try {
      if ((await handle.stat()).isSymbolicLink()) throw new Error('a symlink has no mode');
      // Through the handle: no name is looked up again.
      await chmod(`/proc/self/fd/${handle.fd}`, mode);
    } finally {
      await handle.close();
    }
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  async #openSelf(): Promise<Directory> {
    return new Directory(await open(`/proc/self/fd/${this.handle.fd}`, fs.O_RDONLY | fs.O_DIRECTORY));
  }

  #path(name: RawName): Buffer {
    if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
      throw new Error(`not a single segment: ${JSON.stringify(name)}`);
    }
    return Buffer.concat([Buffer.from(`/proc/self/fd/${this.handle.fd}/`), bytesOfName(name)]);
  }
}
