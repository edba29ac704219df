import type { Stats } from 'node:fs';
import { FlashpodsError, systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { Directory, bytesOfName, type RawName } from '../trees/directory.ts';
import { inBatches } from '../trees/in-batches.ts';

/** More directories in each other than any project has; each one costs an open handle. */
export const MAX_TREE_DEPTH = 100;

export interface TreeFacts {
  /** Bytes of the regular files; one with several names counts once. */
  readonly sizeBytes: number;
  /** Regular files and symlinks. */
  readonly fileCount: number;
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
 * is empty. @throws FlashpodsError invalid_request when it is too deep
 */
export const measureTree = async (path: string): Promise<TreeFacts> => {
  const walk = new TreeWalk(() => Promise.resolve(), 'changing');
  await walkFrom(path, (root) => walk.directory(root, [])).catch(ifMissing(undefined));
  return walk.facts;
};

/**
 * Settles owner and modes of a tree once, so that nothing is to be done for each job: everything belongs to
 * `owner` (null: to whom it belongs now), directories are at least u+rx and files u+r, setuid, setgid and sticky
 * bits go, all other bits stay. What is right already is not touched, so a file that is shared with a settled tree
 * stays as it is. Symlinks stay too, wherever they lead. Can be done again after a crash.
 * @throws FlashpodsError invalid_request for a device, a FIFO, a socket
 */
export const settleTree = async (path: string, owner: TreeIds | null): Promise<TreeFacts> =>
  walkFrom(path, async (root) => {
    const settling = new Settling(root, owner);
    const walk = new TreeWalk(
      (directory, parent, name, stats) => settling.entry(directory, parent, name, stats),
      'quiet',
    );
    await settling.root();
    await walk.directory(root, []);
    return walk.facts;
  });

const walkFrom = async <T>(path: string, work: (root: Directory) => Promise<T>): Promise<T> => {
  const root = await Directory.open(path);
  try {
    return await work(root);
  } finally {
    await root.close();
  }
};

type Visit = (directory: Directory, path: readonly RawName[], name: RawName, stats: Stats) => Promise<void>;

class TreeWalk {
  readonly #visit: Visit;
  readonly #isChanging: boolean;
  /** Files with several names that were counted. */
  readonly #linked = new Set<string>();
  #sizeBytes = 0;
  #fileCount = 0;

  constructor(visit: Visit, state: 'quiet' | 'changing') {
    this.#visit = visit;
    this.#isChanging = state === 'changing';
  }

  /** @returns null when somebody took away or replaced what was to be looked at, and may do so */
  #tolerate(error: unknown): null {
    if (this.#isChanging && ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) return null;
    throw error;
  }

  get facts(): TreeFacts {
    return { sizeBytes: this.#sizeBytes, fileCount: this.#fileCount };
  }

  async directory(directory: Directory, path: readonly RawName[]): Promise<void> {
    const below: RawName[] = [];
    await inBatches(directory.names(), async (name) => {
      const stats = await directory.stat(name).catch((error: unknown) => this.#tolerate(error));
      if (stats === null) return;
      await this.#visit(directory, path, name, stats);
      if (stats.isDirectory()) below.push(name);
      else this.#count(stats);
    });
    for (const name of below) {
      const here = [...path, name];
      if (here.length > MAX_TREE_DEPTH)
        throw refuse(here, `lies more than ${MAX_TREE_DEPTH} directories deep`);
      const child = await directory.openDirectory(name).catch((error: unknown) => this.#tolerate(error));
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
    if (!stats.isFile()) return;
    if (stats.nlink > 1) {
      const id = `${stats.dev}:${stats.ino}`;
      if (this.#linked.has(id)) return;
      this.#linked.add(id);
    }
    this.#sizeBytes += stats.size;
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
