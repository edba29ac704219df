/** A directory that a job saw, as the collector finds it: `/artifacts`, or what of `/work` is asked for. */
import { isUtf8 } from 'node:buffer';
import type { BigIntStats } from 'node:fs';
import { systemCode } from '../errors.ts';
import { OverBudget, type TreeBudget } from '../trees/budget.ts';
import { bytesOfName, Directory, rawName, type RawName } from '../trees/directory.ts';
import { artifactNameProblem } from './artifact-name.ts';
import type { Globs } from './globs.ts';
import { type Progress } from './globs.ts';
import type { Looked } from './links.ts';
import type { Warnings } from './warnings.ts';

/** Comparisons of a name with patterns that take as long as looking at one more file. */
const COMPARISONS_A_STEP = 250;
const MAX_DEPTH = 64;
/** With the directory in front it still is a path. */
const MAX_NAME_BYTES = 2048;
/** To open a directory takes as long as this many looks at what is known. */
const OPEN_STEPS = 5;

/** What other processes of a job that has not quite ended, or a broken disk, may have done to a name meanwhile. */
const CHANGED = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EINVAL']);
export const hasChanged = (error: unknown): boolean => CHANGED.has(systemCode(error) ?? '');

export interface Entry {
  /** Path in the tree, with `/` between the segments. */
  readonly name: string;
  readonly path: readonly string[];
  readonly kind: 'file' | 'directory' | 'symlink';
  readonly stats: Pick<BigIntStats, 'mode' | 'mtimeNs' | 'size'>;
  /** Of a symlink. */
  readonly target: string | null;
}

export interface TreeRequest {
  /** Of the source. Its owner is hostile. */
  readonly path: string;
  /** Under which name in `/` the job saw it. */
  readonly mount: string;
  /** What is asked for; null: all of it. */
  readonly globs: Globs | null;
  readonly warnings: Warnings;
  /** Of the whole collection. */
  readonly budget: TreeBudget;
}

export class SourceTree {
  readonly root: Directory;
  readonly mount: string;
  /** By name: what is asked for, and the directories that were entered on the way. */
  readonly entries = new Map<string, Entry>();
  /** Names of those that are asked for, or lie in a directory that is. */
  readonly wanted = new Set<string>();
  readonly #globs: Globs | null;
  readonly #warnings: Warnings;
  readonly #budget: TreeBudget;
  readonly #seen = new Set<number>();
  readonly #others = new Set<string>();
  readonly #device: bigint;
  #lookedAt = 0;
  #compared = 0;
  #isFull = false;

  private constructor(root: Directory, device: bigint, { mount, globs, warnings, budget }: TreeRequest) {
    this.root = root;
    this.mount = mount;
    this.#device = device;
    this.#globs = globs;
    this.#warnings = warnings;
    this.#budget = budget;
  }

  /** Walks the tree. Close it. @throws what the system has against its root */
  static async open(request: TreeRequest): Promise<SourceTree> {
    const root = await Directory.open(request.path);
    try {
      const { dev } = await root.handle.stat({ bigint: true });
      const tree = new SourceTree(root, dev, request);
      await tree.#walk(await root.descend([]), [], request.globs?.start ?? null);
      return tree;
    } catch (error) {
      await root.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.root.close();
  }

  /** Patterns that nothing matched. */
  get unmatched(): readonly string[] {
    return this.#globs?.patterns.filter((_, index) => !this.#seen.has(index)) ?? [];
  }

  /** What lies at a path, also where no pattern matched it. @throws OverBudget */
  readonly look = async (path: readonly string[]): Promise<Looked> => {
    const name = path.join('/');
    const entry = this.entries.get(name);
    if (entry) return entry.target === null ? (entry.kind as 'file' | 'directory') : { target: entry.target };
    if (this.#others.has(name)) return 'other';
    if (this.#globs === null || path.length > MAX_DEPTH) return null;
    this.#budget.step(path.length * OPEN_STEPS);
    try {
      const raw = path.map(rawName);
      const last = raw.pop() ?? '';
      const directory = await this.root.descend(raw);
      try {
        const stats = await directory.stat(last);
        if (stats.isSymbolicLink()) return { target: bytesOfName(await directory.readLink(last)).toString() };
        return stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other';
      } finally {
        await directory.close();
      }
    } catch (error) {
      if (hasChanged(error)) return null;
      throw error;
    }
  };

  /** Takes in what lies below `directory`, which it closes. */
  async #walk(directory: Directory, path: readonly string[], progress: Progress | null): Promise<void> {
    try {
      for await (const dirent of directory.listing()) {
        if (this.#isFull || !this.#spend(() => this.#step())) return;
        const raw: RawName = dirent.name;
        const bytes = bytesOfName(raw);
        const text = bytes.toString('utf8');
        const next = progress === null ? null : (this.#globs?.step(progress, text, this.#seen) ?? null);
        const isWanted = next === null || next.matched;
        // What no pattern matches is not even looked at, unless it may be a directory that holds what one does.
        if (!isWanted && (next.dead || dirent.isFile() || dirent.isSymbolicLink())) continue;
        const name = [...path, text].join('/');
        try {
          await this.#take(directory, { raw, name, path: [...path, text], next, isWanted });
        } catch (error) {
          if (!hasChanged(error)) throw error;
          if (isWanted) this.#warnings.leftOut(name, 'it was changed while it was collected');
        }
      }
    } finally {
      await directory.close();
    }
  }

  async #take(
    directory: Directory,
    found: {
      readonly raw: RawName;
      readonly name: string;
      readonly path: readonly string[];
      readonly next: Progress | null;
      readonly isWanted: boolean;
    },
  ): Promise<void> {
    const { raw, name, path, next, isWanted } = found;
    const problem = nameProblem(raw, name);
    if (problem !== null) {
      if (isWanted) this.#warnings.leftOut(name, `its name ${problem}`);
      return;
    }
    const stats = await directory.statExactly(raw);
    if (stats.isDirectory()) {
      if (stats.dev !== this.#device) {
        if (isWanted) this.#warnings.leftOut(name, 'another file system is mounted there');
        return;
      }
      if (path.length > MAX_DEPTH) {
        if (isWanted) this.#warnings.leftOut(name, `more than ${MAX_DEPTH} directories deep`);
        return;
      }
      this.#add({ name, path, kind: 'directory', stats, target: null }, isWanted);
      await this.#walk(await directory.openDirectory(raw), path, next);
      return;
    }
    if (!isWanted) return;
    if (stats.isFile()) this.#add({ name, path, kind: 'file', stats, target: null }, true);
    else if (stats.isSymbolicLink()) {
      const target = bytesOfName(await directory.readLink(raw));
      if (isUtf8(target)) this.#add({ name, path, kind: 'symlink', stats, target: target.toString() }, true);
      else this.#warnings.leftOut(name, 'a symlink whose target is not UTF-8');
    } else {
      if (this.#spend(() => this.#budget.entry(2 * name.length))) this.#others.add(name);
      const kind = stats.isFIFO() ? 'a FIFO' : stats.isSocket() ? 'a socket' : 'a device';
      this.#warnings.leftOut(name, `${kind}, not a regular file`);
    }
  }

  #add(entry: Entry, isWanted: boolean): void {
    // The name lies in memory a second time, in its segments.
    const bytes = 2 * entry.name.length + (entry.target?.length ?? 0);
    if (!this.#spend(() => this.#budget.entry(bytes))) return;
    this.entries.set(entry.name, entry);
    if (isWanted) this.wanted.add(entry.name);
  }

  #step(): void {
    this.#lookedAt += 1;
    const compared = this.#globs?.spent ?? 0;
    this.#budget.step(1 + Math.ceil((compared - this.#compared) / COMPARISONS_A_STEP));
    this.#compared = compared;
  }

  /** @returns false when there is too much in the tree: what has been found stays, and no more is looked for */
  #spend(work: () => void): boolean {
    if (this.#isFull) return false;
    try {
      work();
      return true;
    } catch (error) {
      if (!(error instanceof OverBudget)) throw error;
      this.#isFull = true;
      this.#warnings.note(
        `only the first ${this.#lookedAt - 1} files and directories of /${this.mount} were looked at: ${error.reason}`,
      );
      return false;
    }
  }
}

function nameProblem(raw: RawName, name: string): string | null {
  if (!isUtf8(bytesOfName(raw))) return 'is not UTF-8';
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `has more than ${MAX_NAME_BYTES} bytes`;
  return artifactNameProblem(name);
}
