/**
 * What earlier fetches put into a directory, in the user's cache directory: a later fetch replaces that, and nothing
 * else. Losing it costs a `--force`.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readFile, readlink, realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { systemCode } from '../errors.ts';
import { writeWhole } from '../files/write-whole.ts';
import type { ArtifactAnswer } from './answers.ts';

/** Of a file or symlink as it was left: any change makes it somebody else's. */
interface Mark {
  readonly inode: string;
  readonly changed: string;
  /** SHA-256 of a file, or the target of a symlink. */
  readonly content: string;
}

export class FetchedBefore {
  readonly #file: string;
  readonly #marks: Map<string, Mark>;
  readonly #fetched = new Map<string, string>();

  private constructor(file: string, marks: Map<string, Mark>) {
    this.#file = file;
    this.#marks = marks;
  }

  /** Of a directory, which may be missing yet. */
  static async of(cacheDir: string, directory: string): Promise<FetchedBefore> {
    const place = await realpath(directory).catch(() => resolve(directory));
    const name = createHash('sha256').update(place).digest('hex').slice(0, 32);
    const file = join(cacheDir, 'fetched', `${name}.json`);
    return new FetchedBefore(file, await readMarks(file));
  }

  /** Whether what is at the path is what an earlier fetch left there under that name, unchanged. */
  async owns(name: string, path: string): Promise<boolean> {
    const mark = this.#marks.get(name);
    if (mark === undefined) return false;
    const found = await markOf(path);
    return (
      found !== null &&
      found.inode === mark.inode &&
      found.changed === mark.changed &&
      found.content === mark.content
    );
  }

  note({ name, type = 'file' }: Pick<ArtifactAnswer, 'name' | 'type'>, path: string): void {
    if (type !== 'directory') this.#fetched.set(name, path);
  }

  /** Once modes and times are what they are to be. Does nothing where there is no place for it. */
  async save(): Promise<void> {
    if (this.#fetched.size === 0) return;
    for (const [name, path] of this.#fetched) {
      const mark = await markOf(path);
      if (mark === null) this.#marks.delete(name);
      else this.#marks.set(name, mark);
    }
    try {
      await mkdir(join(this.#file, '..'), { recursive: true, mode: 0o700 });
      await writeWhole(this.#file, JSON.stringify({ version: 1, marks: [...this.#marks] }));
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
    }
  }
}

/** Null for what is neither file nor symlink, or is not there. */
async function markOf(path: string): Promise<Mark | null> {
  try {
    const { dev, ino, mtimeNs, size, ...found } = await lstat(path, { bigint: true });
    const inode = `${dev}:${ino}`;
    const changed = `${mtimeNs}:${size}`;
    // Asked of the mode: the methods are not the copy's.
    const kind = Number(found.mode) & 0o170000;
    if (kind === 0o120000) return { inode, changed, content: await readlink(path) };
    if (kind !== 0o100000) return null;
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
    return { inode, changed, content: hash.digest('hex') };
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return null;
  }
}

async function readMarks(file: string): Promise<Map<string, Mark>> {
  try {
    const stored = JSON.parse(await readFile(file, 'utf8')) as { version?: unknown; marks?: unknown } | null;
    if (stored?.version !== 1 || !Array.isArray(stored.marks)) return new Map();
    return new Map((stored.marks as unknown[]).filter(isEntry));
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) !== undefined) return new Map();
    throw error;
  }
}

function isEntry(value: unknown): value is [string, Mark] {
  if (!Array.isArray(value) || value.length !== 2 || typeof value[0] !== 'string') return false;
  const mark = value[1] as Partial<Record<keyof Mark, unknown>> | null;
  return ['inode', 'changed', 'content'].every((key) => typeof mark?.[key as keyof Mark] === 'string');
}
