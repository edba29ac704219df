import { constants, type Stats } from 'node:fs';
import { FlashpodsError, systemCode } from '../../errors.ts';
import { ifMissing } from '../../files/if-missing.ts';
import { writeFully } from '../../files/read-fully.ts';
import { TreeBudget, type Spent, UPLOAD_BUDGET, weightOf } from '../../trees/budget.ts';
import type { Directory, RawName } from '../../trees/directory.ts';
import { TreeTimes } from '../../trees/times.ts';
import { isInTheWay, showName } from '../tree.ts';
import { type Content, type EntryHeader, entryText, refusal, segmentsOfEntry, timeOf } from './tar-entry.ts';

/** What a tar may hold besides content: header, long name and pax fields of an entry; its end, padded to a record. */
const OVERHEAD_ENTRY_BYTES = 8 * 1024;
const OVERHEAD_BYTES = 1024 * 1024;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

export interface ExtractLimits {
  /** Bytes of files, together. */
  readonly maxBytes: number;
  /** The same with at least 4 KiB for every entry, see `weightOf`. */
  readonly maxWeight?: number;
  /** Entries of every kind: each takes an inode. */
  readonly maxFiles?: number;
  /** What the tree holds already. */
  readonly spent?: Spent;
  /** What is put before the target of every symlink, so that nobody follows it. */
  readonly linkPrefix?: RawName;
  /** Told of each entry before it is made: what all so far weigh and have spent. */
  readonly onEntry?: (weightBytes: number, spent: Spent) => void;
}

export interface Extracted {
  /** Files and links, without directories. */
  readonly files: number;
  readonly bytes: number;
}

interface LateDirectory {
  readonly mode: number;
  readonly time: bigint | null;
}

/** The tree that the entries of one tar make, below an open directory. */
export class Extraction {
  readonly #root: Directory;
  readonly budget: TreeBudget;
  readonly #limits: ExtractLimits;
  /** The directory of the last entry and all above it: the next one is mostly there too. */
  readonly #open: { readonly name: RawName; readonly directory: Directory }[] = [];
  /** By path. Modes and times of directories come last: entries below change the one and need the other. */
  readonly #directories = new Map<string, LateDirectory>();
  readonly #times: TreeTimes;
  #entries = 0;
  #files = 0;
  #bytes = 0;
  #weight = 0;
  /** Content that the headers announced, in blocks of a tar. */
  #announcedBytes = 0;

  constructor(root: Directory, limits: ExtractLimits) {
    this.#root = root;
    this.#times = new TreeTimes(root);
    this.#limits = limits;
    const { spent, maxFiles = UPLOAD_BUDGET.entries } = limits;
    this.budget = new TreeBudget({ ...UPLOAD_BUDGET, entries: maxFiles }, { spent });
  }

  get extracted(): Extracted {
    return { files: this.#files, bytes: this.#bytes };
  }

  /** Length of a tar with the entries so far, at most. */
  get expectedBytes(): number {
    return OVERHEAD_BYTES + this.#entries * OVERHEAD_ENTRY_BYTES + this.#announcedBytes;
  }

  async entry(header: EntryHeader, content: Content): Promise<void> {
    const path = segmentsOfEntry(entryText(header, 'name'), 'the name');
    try {
      await this.#make(path, header, content);
    } catch (error) {
      if (isInTheWay(error)) {
        throw refusal(
          `the entry ${showName(path)}: something else is in its way (${systemCode(error)})`,
          error,
        );
      }
      throw error;
    }
  }

  async finish(): Promise<void> {
    // What lies in a directory goes before it, since that may lose the permission to go through it; and neighbours
    // follow each other, so that few directories are opened again.
    const late = [...this.#directories].sort(([a], [b]) => (a < b ? 1 : -1));
    const pathOf = (key: string): RawName[] => (key === '' ? [] : key.split('/'));
    for (const [key, { time }] of late) if (time !== null) await this.#times.set(pathOf(key), time);
    await this.#times.close();
    for (const [key, { mode }] of late) await (await this.#at(pathOf(key), false)).handle.chmod(mode);
  }

  async close(): Promise<void> {
    await this.#times.abandon();
    while (this.#open.length > 0) await this.#open.pop()?.directory.close();
  }

  async #make(path: readonly RawName[], header: EntryHeader, content: Content): Promise<void> {
    this.#entries += 1;
    const target = entryText(header, 'linkname');
    this.budget.entry(path.reduce((bytes, segment) => bytes + segment.length + 1, target.length));
    const { type } = header;
    const parent = path.slice(0, -1);
    const name = path.at(-1);
    const isFile = type === 'file' || type === 'contiguous-file';
    // Before a byte of it is stored.
    this.#weigh(path, isFile ? header.size : 0);
    if (isFile) this.#announcedBytes += Math.ceil(header.size / 512) * 512;
    if (type === 'directory') {
      await this.#directory(path, header);
      return;
    }
    if (name === undefined) throw refusal(`the entry ".": it is not a directory`);
    switch (type) {
      case 'file':
      case 'contiguous-file':
        if (header.pax !== null && 'GNU.sparse.major' in header.pax) {
          throw refusal(`the entry ${showName(path)}: sparse files are not taken; pack without --sparse`);
        }
        await this.#file(await this.#at(parent, true), path, name, header, content);
        break;
      case 'symlink':
        await this.#symlink(await this.#at(parent, true), parent, name, header);
        break;
      case 'link':
        await this.#hardLink(await this.#at(parent, true), path, name, header);
        break;
      default:
        throw refusal(`the entry ${showName(path)}: ${type ?? 'something unknown'} is not taken`);
    }
    // An empty directory may have been there.
    this.#directories.delete(path.join('/'));
    this.#files++;
  }

  async #directory(path: readonly RawName[], header: EntryHeader): Promise<void> {
    const name = path.at(-1);
    if (name !== undefined) {
      const parent = await this.#at(path.slice(0, -1), true);
      const stats = await statIfThere(parent, name);
      if (stats !== null && !stats.isDirectory()) await parent.unlink(name);
    }
    const directory = await this.#at(path, 'counted');
    await directory.handle.chmod(0o700);
    this.#directories.set(path.join('/'), { mode: header.mode & 0o777, time: timeOf(header) });
  }

  /** @throws FlashpodsError insufficient_storage over a limit */
  #count(path: readonly RawName[]): void {
    this.budget.entry(path.reduce((bytes, segment) => bytes + segment.length + 1, 0));
    this.#weigh(path, 0);
  }

  /** @throws FlashpodsError insufficient_storage over a limit */
  #weigh(path: readonly RawName[], size: number): void {
    const { maxBytes, maxWeight = Infinity } = this.#limits;
    this.#weight += weightOf(size);
    this.#limits.onEntry?.(this.#weight, this.budget.spent);
    if (this.#bytes + size <= maxBytes && this.#weight <= maxWeight) return;
    throw new FlashpodsError('insufficient_storage', `With ${showName(path)} the upload is over its limit.`);
  }

  async #file(
    directory: Directory,
    path: readonly RawName[],
    name: RawName,
    header: EntryHeader,
    content: Content,
  ): Promise<void> {
    const size = header.size;
    const file = await anew(directory, name, () => directory.openFile(name, CREATE, 0o600));
    try {
      let done = 0;
      for await (const chunk of content) {
        await writeFully(file, chunk, done);
        done += chunk.length;
      }
      if (done !== size) throw refusal(`the body: it ended within ${showName(path)}`);
      this.#bytes += size;
      await file.chmod(header.mode & 0o777);
    } catch (error) {
      await directory.unlink(name).catch(() => undefined);
      throw error;
    } finally {
      await file.close();
    }
    await this.#setTime(path, header);
  }

  async #symlink(
    directory: Directory,
    parent: readonly RawName[],
    name: RawName,
    header: EntryHeader,
  ): Promise<void> {
    const target = entryText(header, 'linkname');
    if (target === '') throw refusal(`the entry ${showName([...parent, name])}: a symlink without a target`);
    // Wherever it leads: it is stored as it is, and nothing here follows it.
    const prefix = this.#limits.linkPrefix ?? '';
    await anew(directory, name, () => directory.makeSymlink(name, prefix + target));
    await this.#setTime([...parent, name], header);
  }

  async #setTime(path: readonly RawName[], header: EntryHeader): Promise<void> {
    const time = timeOf(header);
    if (time !== null) await this.#times.set(path, time);
  }

  async #hardLink(
    directory: Directory,
    path: readonly RawName[],
    name: RawName,
    header: EntryHeader,
  ): Promise<void> {
    const existing = segmentsOfEntry(entryText(header, 'linkname'), `the link ${showName(path)}: its target`);
    const existingName = existing.pop();
    if (existingName === undefined) throw refusal(`the entry ${showName(path)}: a link to the tree itself`);
    if ([...existing, existingName].join('/') === path.join('/')) return;
    this.budget.step(existing.length);
    let source: Directory | null = null;
    try {
      source = await this.#root.descend(existing);
      const from = source;
      if (!(await from.stat(existingName)).isFile()) {
        throw refusal(`the entry ${showName(path)}: a link to something that is not a regular file`);
      }
      await anew(directory, name, () => directory.makeLink(name, from, existingName));
      // Somebody may have put something else there between the look and the link.
      if (!(await directory.stat(name)).isFile()) {
        await directory.unlink(name);
        throw refusal(`the entry ${showName(path)}: a link to something that is not a regular file`);
      }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      throw refusal(`the entry ${showName(path)}: a link to a file that is not there`, error);
    } finally {
      await source?.close();
    }
  }

  /**
   * The open directory at `path`; with `create`, made where it is missing. It belongs to this extraction. What is made
   * without an entry of its own counts like one; `counted`: the last of them has been.
   */
  async #at(path: readonly RawName[], create: boolean | 'counted'): Promise<Directory> {
    let common = 0;
    while (common < this.#open.length && common < path.length && this.#open[common]?.name === path[common])
      common++;
    while (this.#open.length > common) await this.#open.pop()?.directory.close();
    let current = this.#open.at(-1)?.directory ?? this.#root;
    for (const [at, name] of path.entries()) {
      if (at < common) continue;
      this.budget.step();
      if (create !== false && (await makeIfMissing(current, name))) {
        const isCounted = create === 'counted' && at === path.length - 1;
        if (!isCounted) this.#count(path.slice(0, at + 1));
      }
      current = await current.openDirectory(name);
      this.#open.push({ name, directory: current });
    }
    return current;
  }
}

/** @returns whether it was missing */
const makeIfMissing = async (directory: Directory, name: RawName): Promise<boolean> => {
  try {
    await directory.makeDirectory(name, 0o755);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    return false;
  }
};

const statIfThere = (directory: Directory, name: RawName): Promise<Stats | null> =>
  directory.stat(name).catch(ifMissing(null));

/** Makes something under a name, in place of what has it. A second writer may get in between, not endlessly. */
const anew = async <T>(directory: Directory, name: RawName, make: () => Promise<T>): Promise<T> => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await make();
    } catch (error) {
      if (systemCode(error) !== 'EEXIST' || attempt === 10) throw error;
    }
    const stats = await statIfThere(directory, name);
    if (stats?.isDirectory() === true) await directory.removeDirectory(name);
    else if (stats !== null) await directory.unlink(name);
  }
};
