import type { Dirent, Stats } from 'node:fs';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../errors.ts';
import { ifMissing } from '../../files/if-missing.ts';
import { ClientError } from '../client-error.ts';
import { IgnoreUnknown, ignoredByGit } from './ignored.ts';

export const DEFAULT_EXCLUDES = ['.git', 'node_modules', 'target', '__pycache__', '.venv'] as const;

/** Stats that are asked for at once. */
const PARALLEL = 64;
/** A clock tick of the kernel, which timestamps are rounded to, is at most 10 ms; some file systems keep whole seconds. */
const TICK_MS = 50;
const COARSE_TICK_MS = 2_000;

export interface TreeEntry {
  /** Relative to the root, with slashes. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Bytes of a file; 0 for the others. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  readonly mtime: Date;
  /**
   * Equal as long as nobody has written to it, as far as a file system tells; null when it was changed so recently
   * that a further change might not show (timestamps have the width of a clock tick).
   */
  readonly stamp: string | null;
}

export interface Tree {
  readonly root: string;
  /** Every directory stands before what it holds. */
  readonly entries: readonly TreeEntry[];
  readonly files: number;
  readonly bytes: number;
  /** What was left out, topmost paths; with a slash at the end of directories. */
  readonly leftOut: readonly string[];
  /** Sentences about what could not be taken along. */
  readonly notices: readonly string[];
}

export interface TreeOptions {
  /** A name leaves out everything so called, at any depth; a path with a slash leaves out that path. */
  readonly excludes: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Lists what an upload of a directory takes along: files, symlinks as they are, empty directories too; without
 * the excludes and what git ignores. Sockets, FIFOs and devices are left out with a notice.
 * @throws ClientError invalid_arguments when it is no directory, upload_failed when it can't be read
 */
export async function listTree(directory: string, { excludes, signal }: TreeOptions): Promise<Tree> {
  const root = await realpath(directory).catch((cause: unknown) => {
    throw new ClientError(
      'invalid_arguments',
      `${directory} can't be read (${systemCode(cause) ?? 'unknown'}).`,
      { cause },
    );
  });
  if (!(await lstat(root)).isDirectory())
    throw new ClientError('invalid_arguments', `${directory} is not a directory.`);

  const names = new Set(excludes.map((exclude) => exclude.replace(/^\.?\/|\/$/g, '')));
  const entries: TreeEntry[] = [];
  const leftOut: string[] = [];
  const notices: string[] = [];
  const ignored = new Set<string>();
  let files = 0;
  let bytes = 0;

  async function learnIgnored(below: string): Promise<void> {
    try {
      for (const path of await ignoredByGit(join(root, below), signal)) ignored.add(join(below, path));
    } catch (error) {
      if (!(error instanceof IgnoreUnknown)) throw error;
      notices.push(error.message);
    }
  }

  async function visit(below: string): Promise<void> {
    signal?.throwIfAborted();
    const children = await readdir(join(root, below), { withFileTypes: true });
    // git does not look into a repository within a repository: it has to be asked there.
    if (below === '' || children.some(({ name }) => name === '.git')) await learnIgnored(below);
    children.sort(byName);
    const wanted = children.filter((child) => {
      const path = join(below, child.name);
      const isLeftOut =
        names.has(child.name) || names.has(path) || ignored.has(path) || ignored.has(`${path}/`);
      if (isLeftOut) leftOut.push(child.isDirectory() ? `${path}/` : path);
      return !isLeftOut;
    });
    for (let at = 0; at < wanted.length; at += PARALLEL) {
      const group = wanted.slice(at, at + PARALLEL);
      const found = await Promise.all(group.map(({ name }) => lstatIfThere(join(root, below, name))));
      for (const [index, { name }] of group.entries())
        await take(join(below, name), name, found[index] ?? null);
    }
  }

  async function take(path: string, name: string, found: Stats | null): Promise<void> {
    if (!found) {
      if (name.includes('\uFFFD')) notices.push(`${path} is left out: its name is not UTF-8`);
      return; // removed since the directory was read
    }
    const type = typeOf(found);
    if (type === null) {
      leftOut.push(path);
      notices.push(`${path} is left out: neither a file, a directory nor a symlink`);
      return;
    }
    const size = type === 'file' ? found.size : 0;
    if (type === 'file') files += 1;
    bytes += size;
    entries.push({
      path,
      type,
      size,
      mode: found.mode & 0o7777,
      mtime: found.mtime,
      stamp: stampOf(found, type),
    });
    if (type === 'directory') await visit(path);
  }

  try {
    await visit('');
  } catch (cause) {
    signal?.throwIfAborted();
    if (systemCode(cause) === undefined) throw cause;
    throw new ClientError('upload_failed', `${directory} can't be read: ${(cause as Error).message}`, {
      cause,
    });
  }
  return { root, entries, files, bytes, leftOut, notices };
}

const lstatIfThere = (path: string): Promise<Stats | null> => lstat(path).catch(ifMissing(null));

const typeOf = (found: Stats): TreeEntry['type'] | null =>
  found.isFile() ? 'file' : found.isDirectory() ? 'directory' : found.isSymbolicLink() ? 'symlink' : null;

function stampOf(found: Stats, type: TreeEntry['type']): string | null {
  const { mode, size, mtimeMs, ctimeMs, ino } = found;
  // The times and the size of a directory change with what it holds, which has stamps of its own.
  if (type === 'directory') return `d${mode}`;
  const width = ctimeMs % 1_000 === 0 ? COARSE_TICK_MS : TICK_MS;
  return ctimeMs > Date.now() - width ? null : [type[0], mode, size, mtimeMs, ctimeMs, ino].join(':');
}

const byName = (a: Dirent, b: Dirent): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
