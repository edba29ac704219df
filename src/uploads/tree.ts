import { chmod, lstat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { FlashpodsError, systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { type Spent, TreeBudget, UPLOAD_BUDGET, weightOf } from '../trees/budget.ts';
import { Directory, bytesOfName, type RawName } from '../trees/directory.ts';
import { inBatches } from '../trees/in-batches.ts';

/** More directories in each other than any project has; each one costs an open handle. */
export const MAX_TREE_DEPTH = 100;

export interface TreeFacts {
  /** Bytes of the regular files; one with several names counts once. */
  readonly sizeBytes: number;
  /** Regular files and symlinks. */
  readonly fileCount: number;
  /** What counts against limits: the same bytes, and at least 4 KiB for every entry, directories too. */
  readonly weightBytes: number;
  /** The part of that which no other tree has: without files that are linked from elsewhere. */
  readonly newBytes: number;
}

/** A tree as it is measured while files come. */
export interface TreeSize extends TreeFacts, Spent {
  /** Why no limit would ever let it be; null for all others. Then the numbers are of a part. */
  readonly excess: string | null;
}

export interface TreeIds {
  readonly uid: number;
  readonly gid: number;
}

/** Ids of the containers' root, if files can be given to it: only root may give files away. Null: they stay ours. */
export const treeIds = (idBase: number | null): TreeIds | null =>
  idBase === null || process.getuid?.() !== 0 ? null : { uid: idBase, gid: idBase };

/** A name out of a tree, for a person. */
export const showName = (path: readonly RawName[]): string => {
  const text = bytesOfName(path.join('/')).toString('utf8');
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
};

/**
 * Measures a tree without following symlinks. What goes while it is measured is left out; what is not there at all
 * is empty. It throws for nothing that it sees: a tree that is deeper or larger than any may be is `excess`.
 * @throws what this machine has against it
 */
export const measureTree = async (path: string, limits = UPLOAD_BUDGET): Promise<TreeSize> => {
  const budget = new TreeBudget(limits);
  const walk = new TreeWalk(() => Promise.resolve(), 'changing', budget);
  let excess: string | null = null;
  // Who writes there under our id may have locked us out.
  if (process.getuid?.() !== 0) {
    const stats = await lstat(path).catch(ifMissing(null));
    if (stats?.isDirectory() && (stats.mode & 0o500) !== 0o500)
      await chmod(path, (stats.mode & 0o777) | 0o500);
  }
  await walkFrom(path, (root) => walk.directory(root, [])).catch((error: unknown) => {
    if (!(error instanceof FlashpodsError)) return ifMissing(undefined)(error);
    excess = error.message;
  });
  return { ...walk.facts, ...budget.spent, excess };
};

/**
 * Settles owner and modes of a tree once, so that nothing is to be done for each job: everything belongs to
 * `owner` (null: to whom it belongs now), directories are at least u+rx and files u+r, setuid, setgid and sticky
 * bits go, all other bits stay. What is right already is not touched, so a file that is shared with a settled tree
 * stays as it is. Symlinks stay too, wherever they lead. Can be done again after a crash.
 * @throws FlashpodsError invalid_request for a device, a FIFO, a socket, and for a tree that is too deep;
 *   insufficient_storage for one that is too large
 */
export const settleTree = async (path: string, owner: TreeIds | null): Promise<TreeFacts> =>
  walkFrom(path, async (root) => {
    const settling = new Settling(root, owner);
    const walk = new TreeWalk(
      (directory, parent, name, stats) => settling.entry(directory, parent, name, stats),
      'quiet',
      new TreeBudget(UPLOAD_BUDGET),
    );
    await settling.root();
    await walk.directory(root, []);
    return walk.facts;
  });

/** @throws FlashpodsError invalid_request for what lies too deep */
export function checkDepth(path: readonly RawName[]): void {
  if (path.length > MAX_TREE_DEPTH) throw refuse(path, `lies more than ${MAX_TREE_DEPTH} directories deep`);
}

const walkFrom = async <T>(path: string, work: (root: Directory) => Promise<T>): Promise<T> => {
  const root = await Directory.open(path);
  try {
    return await work(root);
  } finally {
    await root.close();
  }
};

type Visit = (directory: Directory, path: readonly RawName[], name: RawName, stats: Stats) => Promise<void>;

/** A file with several names, or one that other trees have too. */
interface Shared {
  readonly size: number;
  readonly nlink: number;
  seen: number;
}

class TreeWalk {
  readonly #visit: Visit;
  readonly #isChanging: boolean;
  readonly #budget: TreeBudget;
  readonly #shared = new Map<string, Shared>();
  #sizeBytes = 0;
  #weightBytes = 0;
  #fileCount = 0;

  constructor(visit: Visit, state: 'quiet' | 'changing', budget: TreeBudget) {
    this.#visit = visit;
    this.#isChanging = state === 'changing';
    this.#budget = budget;
  }

  /** @returns null when somebody took away or replaced what was to be looked at, and may do so */
  #tolerate(error: unknown): null {
    if (this.#isChanging && ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) return null;
    throw error;
  }

  /** Who writes into a tree under our id may lock us out of its directories; they are opened as the seal will. */
  async #open(directory: Directory, name: RawName): Promise<Directory> {
    if (this.#isChanging && process.getuid?.() !== 0) {
      const { mode } = await directory.stat(name);
      if ((mode & 0o500) !== 0o500) await directory.chmod(name, (mode & 0o7777) | 0o500);
    }
    return directory.openDirectory(name);
  }

  get facts(): TreeFacts {
    let elsewhere = 0;
    for (const { size, nlink, seen } of this.#shared.values()) if (seen < nlink) elsewhere += weightOf(size);
    return {
      sizeBytes: this.#sizeBytes,
      fileCount: this.#fileCount,
      weightBytes: this.#weightBytes,
      newBytes: this.#weightBytes - elsewhere,
    };
  }

  async directory(directory: Directory, path: readonly RawName[]): Promise<void> {
    const below: RawName[] = [];
    const above = path.reduce((bytes, segment) => bytes + segment.length + 1, 0);
    await inBatches(directory.names(), async (name) => {
      this.#budget.entry(above + name.length);
      const stats = await directory.stat(name).catch((error: unknown) => this.#tolerate(error));
      if (stats === null) return;
      await this.#visit(directory, path, name, stats);
      if (stats.isDirectory()) {
        below.push(name);
        this.#weightBytes += weightOf(0);
      } else this.#count(stats);
    });
    for (const name of below) {
      const here = [...path, name];
      checkDepth(here);
      this.#budget.step();
      const child = await this.#open(directory, name).catch((error: unknown) => this.#tolerate(error));
      if (child === null) continue;
      try {
        await this.directory(child, here);
      } finally {
        await child.close();
      }
    }
  }

  #count(stats: Stats): void {
    this.#fileCount++;
    const size = stats.isFile() ? stats.size : 0;
    if (stats.isFile() && stats.nlink > 1) {
      const id = `${stats.dev}:${stats.ino}`;
      const shared = this.#shared.get(id);
      if (shared) {
        shared.seen += 1;
        return;
      }
      this.#shared.set(id, { size, nlink: stats.nlink, seen: 1 });
    }
    this.#sizeBytes += size;
    this.#weightBytes += weightOf(size);
  }
}

class Settling {
  readonly #root: Directory;
  readonly #owner: TreeIds | null;

  constructor(root: Directory, owner: TreeIds | null) {
    this.#root = root;
    this.#owner = owner;
  }

  async root(): Promise<void> {
    const { handle } = this.#root;
    const stats = await handle.stat();
    if (this.#isForeign(stats))
      await handle.chown(this.#owner?.uid ?? stats.uid, this.#owner?.gid ?? stats.gid);
    const mode = settledMode(stats);
    if ((stats.mode & 0o7777) !== mode) await handle.chmod(mode);
  }

  async entry(directory: Directory, path: readonly RawName[], name: RawName, stats: Stats): Promise<void> {
    if (!stats.isFile() && !stats.isDirectory() && !stats.isSymbolicLink()) {
      throw refuse([...path, name], 'is neither a regular file nor a directory nor a symlink');
    }
    if (this.#isForeign(stats)) {
      await directory.chown(name, this.#owner?.uid ?? stats.uid, this.#owner?.gid ?? stats.gid);
    }
    // After the change of owner, which may take bits away.
    const mode = settledMode(stats);
    if (!stats.isSymbolicLink() && (stats.mode & 0o7777) !== mode) await directory.chmod(name, mode);
  }

  #isForeign({ uid, gid }: Stats): boolean {
    return this.#owner !== null && (uid !== this.#owner.uid || gid !== this.#owner.gid);
  }
}

const settledMode = (stats: Stats): number => (stats.mode & 0o777) | (stats.isDirectory() ? 0o500 : 0o400);

const refuse = (path: readonly RawName[], what: string): FlashpodsError =>
  new FlashpodsError('invalid_request', `the files: ${showName(path)} ${what}`, { details: { field: '' } });

/** Whether a failed step of a tree tells of what lies there and not of this machine. */
export const isInTheWay = (error: unknown): boolean =>
  ['ENOTDIR', 'ELOOP', 'EISDIR', 'EEXIST', 'ENOTEMPTY', 'ENAMETOOLONG', 'EINVAL', 'EILSEQ'].includes(
    systemCode(error) ?? '',
  );
