import { createHash } from 'node:crypto';
import { type BigIntStats, constants, type Dirent } from 'node:fs';
import { access, lstat, readdir, readlink, realpath, stat } from 'node:fs/promises';
import { systemCode } from '../../errors.ts';
import { ifMissing } from '../../files/if-missing.ts';
import { rawName, type RawName } from '../../trees/directory.ts';
import { ClientError } from '../client-error.ts';
import {
  gitForOneTree,
  type GitPieces,
  gitWithAlternates,
  isMomentary,
  knowsWorkTree,
} from './git-directory.ts';
import { absolute, joined, parentOf, shown, someOf } from './names.ts';
import { gitDirectoryOf, readSmall, topOf } from './repository.ts';
import { Rules, type RuleOptions, type Scope } from './rules.ts';
import { refuseUnreadable, type Unreadable } from './unreadable.ts';

/** Stats that are asked for at once. */
const PARALLEL = 64;
/** A clock tick of the kernel, which timestamps are rounded to, is at most 10 ms; some file systems keep whole seconds. */
const TICK_MS = 50;
const COARSE_TICK_MS = 2_000;

export interface TreeEntry {
  /** Relative to the root, with slashes, one character a byte; `.` is the root. */
  readonly path: RawName;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Bytes of a file; 0 for the others. */
  readonly size: number;
  /** Permission bits, without setuid, setgid and sticky. */
  readonly mode: number;
  readonly mtimeNs: bigint;
  /**
   * Equal as long as nobody has written to it, as far as a file system tells; null when it was changed so recently
   * that a further change might not show (timestamps have the width of a clock tick).
   */
  readonly stamp: string | null;
  /** Where it is read from, if not from its path below the root. */
  readonly source?: Buffer;
  /** What it holds, if that is not what is on the disk. */
  readonly content?: Buffer;
}

export interface LeftBehind {
  readonly path: RawName;
  readonly isDirectory: boolean;
  /** The rule, for people: `.gitignore: *.o`. */
  readonly rule: string;
}

export interface Tree {
  readonly root: string;
  /** The root first; every directory stands before what it holds. */
  readonly entries: readonly TreeEntry[];
  readonly files: number;
  readonly bytes: number;
  /** Topmost paths that rules leave out. */
  readonly leftBehind: readonly LeftBehind[];
  /** All that rsync has to pass over: what stays behind, and what is neither file, directory nor symlink. */
  readonly leftOut: readonly RawName[];
  /** Something in it comes from elsewhere on this machine. */
  readonly isComposed: boolean;
  /** Sentences about what could not be taken along, or is not what one may expect. */
  readonly notices: readonly string[];
}

export interface TreeOptions extends RuleOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Lists what an upload of a directory takes along: files, symlinks as they are, empty directories too; without what
 * the rules leave behind. Sockets, FIFOs and devices stay behind with a notice.
 * @throws ClientError invalid_arguments when it is no directory, upload_failed with all that can't be read
 */
export async function listTree(directory: string, options: TreeOptions): Promise<Tree> {
  const root = await realpath(directory).catch((cause: unknown) => {
    const why = systemCode(cause) ?? 'unknown';
    throw new ClientError('invalid_arguments', `${directory} can't be read (${why}).`, { cause });
  });
  if (!(await lstat(root)).isDirectory())
    throw new ClientError('invalid_arguments', `${directory} is not a directory.`);
  const listing = new Listing(root, options);
  try {
    return await listing.run(directory);
  } catch (cause) {
    options.signal?.throwIfAborted();
    if (cause instanceof ClientError || systemCode(cause) === undefined) throw cause;
    const message = `${directory} can't be read: ${(cause as Error).message}`;
    throw new ClientError('upload_failed', message, { cause });
  }
}

interface Going {
  readonly path: RawName;
  readonly name: RawName;
  /** In force in it. */
  readonly scope: Scope;
}

class Listing {
  readonly #root: string;
  readonly #options: TreeOptions;
  readonly #rules: Rules;
  #entries: TreeEntry[] = [];
  readonly #leftBehind: LeftBehind[] = [];
  readonly #leftOut: RawName[] = [];
  readonly #unreadable: Unreadable[] = [];
  readonly #special: RawName[] = [];
  readonly #bits: RawName[] = [];
  readonly #notices: string[] = [];
  #isComposed = false;

  constructor(root: string, options: TreeOptions) {
    this.#root = root;
    this.#options = options;
    this.#rules = new Rules(root, options, options.signal);
  }

  async run(given: string): Promise<Tree> {
    const top = await lstat(this.#root, { bigint: true });
    this.#add('.', 'directory', top);
    await this.#visit('.', await this.#rules.begin());
    refuseUnreadable(given, this.#unreadable);
    const sentence = (names: readonly RawName[], what: string): string[] =>
      names.length === 0 ? [] : [`${what}: ${someOf(names.map(shown))}`];
    const entries = this.#entries;
    if (this.#options.git && !entries.some(({ path }) => path === '.git'))
      this.#notices.push(await noRepository(this.#root));
    const notices = [
      ...this.#rules.notices,
      ...this.#notices,
      ...sentence(this.#special, 'left out, being neither file, directory nor symlink'),
      ...sentence(this.#bits, 'setuid, setgid and sticky bits stay behind'),
      ...(await linksOf(this.#root, entries)),
      ...this.#rules.unused(),
    ];
    return {
      root: this.#root,
      entries,
      files: entries.filter(({ type }) => type === 'file').length,
      bytes: entries.reduce((sum, { size }) => sum + size, 0),
      leftBehind: this.#leftBehind,
      leftOut: [...this.#leftOut, ...this.#leftBehind.map(({ path }) => path)],
      isComposed: this.#isComposed,
      notices,
    };
  }

  async #visit(below: RawName, above: Scope): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const at = absolute(this.#root, below);
    let children: Dirent[];
    try {
      children = await readdir(at, { withFileTypes: true, encoding: 'latin1' });
    } catch (error) {
      if (below !== '.' && systemCode(error) === 'ENOENT') return; // removed since its parent was read
      this.#cantRead(below, true, error);
      return;
    }
    const scope = await this.#rules.enter(below, new Set(children.map(({ name }) => name)), above);
    children.sort(byName);
    for (let start = 0; start < children.length; start += PARALLEL) {
      const going = children.slice(start, start + PARALLEL).flatMap((child): Going[] => {
        const path = joined(below, child.name);
        const decision = this.#rules.decide(path, child.isDirectory(), scope);
        if (decision.goes) {
          const inside = { ...scope, left: null, isIncluded: decision.isIncluded };
          return [{ path, name: child.name, scope: inside }];
        }
        if (child.isDirectory() && this.#rules.mayHold(path, decision.left, scope))
          return [{ path, name: child.name, scope: { ...scope, left: decision.left } }];
        this.#leftBehind.push({ path, isDirectory: child.isDirectory(), rule: decision.left.rule });
        return [];
      });
      const found = await Promise.all(going.map(({ path }) => this.#look(path)));
      for (const [index, one] of going.entries()) {
        const stats = found[index];
        if (stats) await this.#take(one.path, one.name, stats, one.scope);
      }
    }
  }

  /** @returns null for what is gone, or can't be read */
  async #look(path: RawName): Promise<BigIntStats | null> {
    try {
      const stats = await lstat(absolute(this.#root, path), { bigint: true });
      if (stats.isFile()) await this.#refuseClosed(path, stats);
      return stats;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null; // removed since the directory was read
      this.#cantRead(path, false, error);
      return null;
    }
  }

  async #refuseClosed(path: RawName, { mode, uid }: BigIntStats): Promise<void> {
    if ((mode & 0o444n) === 0o444n || process.geteuid?.() === undefined) return;
    if (Number(uid) === process.geteuid() && (mode & 0o400n) !== 0n) return;
    await access(absolute(this.#root, path), constants.R_OK);
  }

  async #take(path: RawName, name: string, stats: BigIntStats, scope: Scope): Promise<void> {
    const type = typeOf(stats);
    if (type === null) {
      this.#leftOut.push(path);
      this.#special.push(path);
      return;
    }
    if (name === '.git' && scope.left === null && (await this.#takeGit(path, stats))) return;
    if (type !== 'directory') {
      this.#add(path, type, stats);
      return;
    }
    if (scope.left === null) {
      this.#add(path, type, stats);
      await this.#visit(path, scope);
      return;
    }
    // It goes along only if something in it does.
    const outer = this.#entries;
    const leftBefore = this.#leftBehind.length;
    this.#entries = [];
    await this.#visit(path, scope);
    const inner = this.#entries;
    this.#entries = outer;
    if (inner.length > 0) {
      this.#add(path, type, stats);
      for (const entry of inner) this.#entries.push(entry);
    } else {
      this.#leftBehind.length = leftBefore;
      this.#leftBehind.push({ path, isDirectory: true, rule: scope.left.rule });
    }
  }

  /** Takes a repository along. @returns false for what is none */
  async #takeGit(path: RawName, stats: BigIntStats): Promise<boolean> {
    const at = absolute(this.#root, path).toString();
    const git = await gitDirectoryOf(at);
    if (git === null) {
      if (!stats.isDirectory()) this.#notices.push(`${shown(path)} names a repository that is not there`);
      return false;
    }
    if (stats.isDirectory() && git.own === git.common) {
      const whole = await gitWithAlternates(at);
      if (whole) await this.#compose(path, stats, whole);
      else await this.#takeAll(path, stats);
      return true;
    }
    // A submodule names its repository in the `.git` above by a relative path: that holds there as well.
    const target =
      stats.isFile() || stats.isSymbolicLink() ? await this.#targetInside(at, stats, git.own) : false;
    if (target) this.#add(path, stats.isFile() ? 'file' : 'symlink', stats);
    else if ((this.#isInside(git.own) && this.#isInside(git.common)) || (await knowsWorkTree(git, at)))
      await this.#compose(path, stats, await gitForOneTree(git));
    else {
      this.#leftOut.push(path);
      this.#notices.push(
        `${shown(path)} stays behind: it leads to ${shown(rawName(git.common))}, which does not name this directory as its work tree; \`git clone\` makes a repository of its own`,
      );
    }
    return true;
  }

  #isInside(directory: string): boolean {
    return directory.startsWith(`${this.#root}/`);
  }

  async #targetInside(at: string, stats: BigIntStats, own: string): Promise<boolean> {
    const text = stats.isFile() ? (await readSmall(at)).replace(/^gitdir: /, '') : await readlink(at);
    if (text.startsWith('/') || !own.startsWith(`${this.#root}/`)) return false;
    const inside = own.slice(this.#root.length + 1).split('/');
    return (
      inside[0] === '.git' &&
      inside[1] === 'modules' &&
      this.#entries.some((entry) => entry.path === '.git/HEAD')
    );
  }

  /** All of a repository: no rule holds in there. */
  async #takeAll(path: RawName, stats: BigIntStats): Promise<void> {
    this.#add(path, 'directory', stats);
    let children: Dirent[];
    try {
      children = await readdir(absolute(this.#root, path), { withFileTypes: true, encoding: 'latin1' });
    } catch (error) {
      this.#cantRead(path, true, error);
      return;
    }
    children.sort(byName);
    const wanted = children
      .map(({ name }) => joined(path, name))
      .filter((below) => {
        if (isMomentary(below)) this.#leftOut.push(below);
        return !isMomentary(below);
      });
    for (let start = 0; start < wanted.length; start += PARALLEL) {
      const group = wanted.slice(start, start + PARALLEL);
      const found = await Promise.all(group.map((below) => this.#look(below)));
      for (const [index, below] of group.entries()) {
        const one = found[index];
        const type = one ? typeOf(one) : null;
        if (!one) continue;
        if (type === 'directory') await this.#takeAll(below, one);
        else if (type !== null) this.#add(below, type, one);
        else this.#leftOut.push(below);
      }
    }
  }

  /** A repository from pieces that lie elsewhere. */
  async #compose(path: RawName, stats: BigIntStats, { pieces, notices }: GitPieces): Promise<void> {
    this.#isComposed = true;
    this.#notices.push(...notices);
    this.#entries.push({
      path,
      type: 'directory',
      size: 0,
      mode: stats.isDirectory() ? Number(stats.mode & 0o777n) : 0o755,
      mtimeNs: stats.mtimeNs,
      stamp: 'd',
    });
    for (const piece of pieces) {
      const found = await lstat(piece.source, { bigint: true }).catch(ifMissing(null));
      const type = found ? typeOf(found) : null;
      if (!found || type === null) continue;
      if (type === 'file')
        await access(piece.source, constants.R_OK).catch((error: unknown) =>
          this.#cantRead(path, true, error),
        );
      this.#add(joined(path, piece.path), type, found, piece);
    }
  }

  #add(
    path: RawName,
    type: TreeEntry['type'],
    stats: BigIntStats,
    { source, content }: { readonly source?: Buffer; readonly content?: Buffer } = {},
  ): void {
    if (type !== 'symlink' && (stats.mode & 0o7000n) !== 0n) this.#bits.push(path);
    this.#entries.push({
      path,
      type,
      size: type === 'file' ? (content?.length ?? Number(stats.size)) : 0,
      mode: Number(stats.mode & 0o777n),
      mtimeNs: stats.mtimeNs,
      stamp: content ? `c${createHash('sha256').update(content).digest('hex')}` : stampOf(stats, type),
      ...(source ? { source } : {}),
      ...(content ? { content } : {}),
    });
  }

  #cantRead(path: RawName, isDirectory: boolean, error: unknown): void {
    const code = systemCode(error);
    if (code === undefined) throw error;
    // What lies in a directory that can be listed but not gone through: the directory is what can't be read.
    const at = !isDirectory && code === 'EACCES' && this.#isClosed(path) ? parentOf(path) : path;
    if (this.#unreadable.some((one) => one.path === at)) return;
    this.#unreadable.push({ path: at, isDirectory: isDirectory || at !== path, code });
  }

  #isClosed(path: RawName): boolean {
    const parent = this.#entries.findLast((entry) => entry.path === parentOf(path));
    return parent !== undefined && parent.path !== '.' && (parent.mode & 0o111) === 0;
  }
}

/** Why git has nothing to work with in a job, though the repository was to go along. */
async function noRepository(root: string): Promise<string> {
  const top = await topOf(root);
  if (top === root) return 'no .git goes along: a rule leaves it behind, as is told';
  return top === null
    ? 'no .git goes along: the directory is in no repository'
    : `no .git goes along: the repository of the directory begins above, in ${shown(rawName(top))}; send that one`;
}

const typeOf = (found: BigIntStats): TreeEntry['type'] | null =>
  found.isFile() ? 'file' : found.isDirectory() ? 'directory' : found.isSymbolicLink() ? 'symlink' : null;

function stampOf(stats: BigIntStats, type: TreeEntry['type']): string | null {
  const { mode, size, mtimeNs, ctimeNs, ino } = stats;
  // The size and the change time of a directory change with what it holds, which has stamps of its own.
  if (type === 'directory') return `d${mode}:${mtimeNs}`;
  const width = ctimeNs % 1_000_000_000n === 0n ? COARSE_TICK_MS : TICK_MS;
  if (ctimeNs > BigInt(Date.now() - width) * 1_000_000n) return null;
  return [type[0], mode, size, mtimeNs, ctimeNs, ino].join(':');
}

/** Sentences about symlinks that lead out of the tree, in a circle or nowhere. They go along as they are. */
async function linksOf(root: string, entries: readonly TreeEntry[]): Promise<string[]> {
  const found: { out: string[]; nowhere: string[] } = { out: [], nowhere: [] };
  for (const { path, type, source } of entries) {
    if (type !== 'symlink' || source) continue;
    const at = absolute(root, path);
    const target = (await readlink(at, { encoding: 'buffer' }).catch(() => Buffer.alloc(0))).toString(
      'latin1',
    );
    const text = `${shown(path)} -> ${shown(target)}`;
    if (leadsOut(path, target)) found.out.push(text);
    else if (
      !(await stat(at).then(
        () => true,
        () => false,
      ))
    )
      found.nowhere.push(text);
  }
  const sentence = (names: readonly string[], what: string): string[] =>
    names.length === 0
      ? []
      : [
          names.length === 1
            ? `a symlink leads ${what}, and stays as it is: ${names[0]}`
            : `${names.length} symlinks lead ${what}, and stay as they are: ${someOf(names)}`,
        ];
  return [...sentence(found.out, 'out of the directory'), ...sentence(found.nowhere, 'nowhere')];
}

/** By the text alone, as it is seen where the tree lies elsewhere. */
function leadsOut(path: RawName, target: RawName): boolean {
  if (target.startsWith('/')) return true;
  let depth = path.split('/').length - 1;
  for (const segment of target.split('/')) {
    if (segment === '' || segment === '.') continue;
    depth += segment === '..' ? -1 : 1;
    if (depth < 0) return true;
  }
  return false;
}

const byName = (a: Dirent, b: Dirent): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
