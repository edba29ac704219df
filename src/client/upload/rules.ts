/**
 * What of a directory stays behind. From the strongest on, the first that says something about an entry decides:
 *
 * 1. `--include`: goes along, with all that is in it
 * 2. `--exclude`, the last pattern that matches; `!pattern` takes along
 * 3. `.flashpodsignore`, the deepest file first
 * 4. what git tracks goes along
 * 5. `.gitignore`, the deepest file first, then `.git/info/exclude` and the user's own ignore file; never for a `.git`
 * 6. the usual excludes
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { rawName, type RawName } from '../../trees/directory.ts';
import { ClientError } from '../client-error.ts';
import { ifMissing } from '../../files/if-missing.ts';
import { matches, parsePattern, parsePatterns, type Pattern } from './glob.ts';
import { absolute, joined, shown } from './names.ts';
import {
  gitDirectoryOf,
  gitSettings,
  type GitSettings,
  GitUnknown,
  topOf,
  type Tracked,
  trackedIn,
} from './repository.ts';

export const DEFAULT_EXCLUDES = ['.git', 'node_modules/', 'target/', '__pycache__/', '.venv/'] as const;

export interface RuleOptions {
  /** Patterns as in a .gitignore. */
  readonly excludes: readonly string[];
  readonly includes?: readonly string[];
  /** The usual excludes, unless these are others. */
  readonly defaults?: readonly string[];
  /** `.git` goes along. */
  readonly git?: boolean;
  /** Of the user; left out: `~/.config`. */
  readonly configHome?: string;
}

interface Source {
  readonly label: string;
  /** The directory of the file, as the paths are told; null for one above the top. */
  readonly base: RawName | null;
  /** Above the top: what leads from the file to the top. */
  readonly prefix: RawName;
  readonly patterns: readonly Pattern[];
}

/** What is in force for the entries of one directory. */
export interface Scope {
  readonly own: readonly Source[];
  readonly git: readonly Source[];
  readonly tracked: Tracked | null;
  /** `--include` named a directory above. */
  readonly isIncluded: boolean;
  /** The directory stays behind itself, but for something in it. */
  readonly left: Left | null;
}

export interface Left {
  /** The rule, for people. */
  readonly rule: string;
  /** Somebody meant this very upload; what git tracks stays behind as well. */
  readonly isMeant: boolean;
}

export type Decision =
  { readonly goes: true; readonly isIncluded: boolean } | { readonly goes: false; readonly left: Left };

const GOES: Decision = { goes: true, isIncluded: false };

export class Rules {
  readonly #root: string;
  readonly #excludes: readonly Pattern[];
  readonly #includes: readonly Pattern[];
  readonly #defaults: readonly Pattern[];
  readonly #signal: AbortSignal | undefined;
  readonly #configHome: string | undefined;
  readonly notices: string[] = [];
  #settings: GitSettings | null = null;

  /**
   * @param root the top directory
   * @throws ClientError invalid_arguments for a pattern that is empty
   */
  constructor(root: string, options: RuleOptions, signal?: AbortSignal) {
    this.#root = root;
    this.#signal = signal;
    this.#configHome = options.configHome;
    const given = (patterns: readonly string[], what: string): Pattern[] =>
      patterns.map((text) => readPattern(text, root, what));
    this.#excludes = given(options.excludes, 'exclude');
    this.#includes = given(options.includes ?? [], 'include');
    const defaults = options.defaults ?? DEFAULT_EXCLUDES;
    const usual = options.git ? defaults.filter((text) => !/^\/?\.git\/?$/.test(text)) : defaults;
    this.#defaults = given(usual, 'default_exclude');
  }

  /** Rules of files above the top directory, where it lies in a repository. */
  async begin(): Promise<Scope> {
    this.#settings = await gitSettings(this.#root, this.#configHome, this.#signal);
    const scope: Scope = { own: [], git: [], tracked: null, isIncluded: false, left: null };
    const top = await topOf(this.#root);
    if (top === null) return { ...scope, git: await this.#global() };
    if (top === this.#root) return scope; // `enter` finds it
    let sources = [...(await this.#ofRepository(top, null)), ...(await this.#global())];
    const way: string[] = [];
    for (let at = dirname(this.#root); ; at = dirname(at)) {
      way.unshift(at);
      if (at === top) break;
    }
    for (const directory of way) {
      const source = await this.#read(join(directory, '.gitignore'), '.gitignore', null, directory);
      if (source) sources = [source, ...sources];
    }
    // A person who names a directory that is ignored itself wants what it holds.
    const segments = rawName(relative(top, this.#root)).split('/');
    const isIgnored = segments.some((_, index) => {
      const above = segments.length - index - 1;
      const decided = decideBy(sources, '../'.repeat(above), true);
      return decided !== null && !decided.pattern.isNegated;
    });
    return {
      ...scope,
      git: isIgnored ? await this.#global() : sources,
      tracked: await this.#tracked(top, ''),
    };
  }

  /** @param names what is in the directory `path` */
  async enter(path: RawName, names: ReadonlySet<RawName>, above: Scope): Promise<Scope> {
    let { own, git, tracked } = above;
    if (names.has('.git')) {
      const directory = absolute(this.#root, path).toString();
      if ((await gitDirectoryOf(join(directory, '.git')).catch(() => null)) !== null) {
        // A repository within another has rules of its own only.
        git = [...(await this.#ofRepository(directory, path)), ...(await this.#global())];
        tracked = await this.#tracked(directory, path);
      }
    }
    const read = async (name: string): Promise<Source[]> => {
      if (!names.has(name)) return [];
      const source = await this.#read(
        absolute(this.#root, joined(path, name)),
        joined(path, name),
        path,
        null,
      );
      return source ? [source] : [];
    };
    git = [...(await read('.gitignore')), ...git];
    own = [...(await read('.flashpodsignore')), ...own];
    return { ...above, own, git, tracked };
  }

  decide(path: RawName, isDirectory: boolean, scope: Scope): Decision {
    if (this.#includes.some((pattern) => !pattern.isNegated && matches(pattern, path, isDirectory)))
      return { goes: true, isIncluded: true };
    const excluded = lastMatch(this.#excludes, path, isDirectory);
    if (excluded) return excluded.isNegated ? GOES : leave('--exclude', excluded, true);
    const own = decideBy(scope.own, path, isDirectory);
    if (own) return own.pattern.isNegated ? GOES : leave(own.label, own.pattern, true);
    if (scope.isIncluded) return { goes: true, isIncluded: true };
    const isTracked = scope.tracked?.files.has(path) ?? false;
    if (scope.left) return isTracked && !scope.left.isMeant ? GOES : { goes: false, left: scope.left };
    if (isTracked) return GOES;
    // No rule of git holds for a repository itself: many ignore `/*` and bring back what they want.
    const git = /(?:^|\/)\.git$/.test(path) ? null : decideBy(scope.git, path, isDirectory);
    if (git) return git.pattern.isNegated ? GOES : leave(git.label, git.pattern, false);
    const usual = lastMatch(this.#defaults, path, isDirectory);
    return usual && !usual.isNegated ? leave('usual', usual, false) : GOES;
  }

  /** Whether something may go along out of a directory that stays behind. */
  mayHold(path: RawName, left: Left, scope: Scope): boolean {
    if (!left.isMeant && scope.tracked?.directories.has(path)) return true;
    if (path.split('/').includes('.git')) return false;
    return this.#includes.some((pattern) => !pattern.isNegated && mayMatchBelow(pattern, path));
  }

  /** A sentence for each pattern of this call that nothing matched. */
  unused(): string[] {
    const idle = (patterns: readonly Pattern[], option: string): string[] =>
      patterns
        .filter(({ used }) => !used)
        .map(({ text }) => `${option} ${JSON.stringify(text)} matches nothing here`);
    return [...idle(this.#excludes, '--exclude'), ...idle(this.#includes, '--include')];
  }

  async #tracked(top: string, path: RawName): Promise<Tracked | null> {
    try {
      const directory = path === '' ? this.#root : absolute(this.#root, path).toString();
      return await trackedIn(top, directory, path, this.#signal);
    } catch (error) {
      if (!(error instanceof GitUnknown)) throw error;
      const where = path === '' || path === '.' ? '' : ` in ${shown(path)}`;
      this.notices.push(
        `${error.message}; what git tracks${where} is not known, so the rules hold for it, too`,
      );
      return null;
    }
  }

  async #global(): Promise<Source[]> {
    const { excludesFile } = this.#settings ?? { excludesFile: '' };
    const source = await this.#read(excludesFile, basename(excludesFile), '', null, true);
    return source ? [{ ...source, label: excludesFile }] : [];
  }

  /** @param base as the paths are told; null for a repository above the top directory */
  async #ofRepository(directory: string, base: RawName | null): Promise<Source[]> {
    const git = await gitDirectoryOf(join(directory, '.git'));
    if (!git) return [];
    const file = join(git.common, 'info', 'exclude');
    const source = await this.#read(file, '.git/info/exclude', base, base === null ? directory : null);
    return source ? [source] : [];
  }

  async #read(
    file: Buffer | string,
    label: string,
    base: RawName | null,
    above: string | null,
    follow = false,
  ): Promise<Source | null> {
    // As git: a link is no ignore file of a tree, since it would be another one elsewhere.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | (follow ? 0 : constants.O_NOFOLLOW);
    const handle = await open(file, flags).catch(ifMissing(null, 'ENOTDIR', 'ELOOP', 'EACCES', 'ENXIO'));
    if (!handle) return null;
    try {
      if (!(await handle.stat()).isFile()) return null;
      const patterns = parsePatterns(await handle.readFile('latin1'), {
        ignoreCase: this.#settings?.ignoreCase ?? false,
      });
      const prefix = above === null ? '' : `${rawName(relative(above, this.#root))}/`;
      return { label: shown(label), base, prefix, patterns };
    } finally {
      await handle.close();
    }
  }
}

const leave = (label: string, pattern: Pattern, isMeant: boolean): Decision => ({
  goes: false,
  left: { rule: `${label}: ${pattern.text.trimEnd()}`, isMeant },
});

function lastMatch(patterns: readonly Pattern[], path: RawName, isDirectory: boolean): Pattern | null {
  for (let at = patterns.length - 1; at >= 0; at -= 1) {
    const pattern = patterns[at];
    if (pattern && matches(pattern, path, isDirectory)) return pattern;
  }
  return null;
}

/** @param path below the top directory; `../` stands for one above the top, as often as it is there */
function decideBy(
  sources: readonly Source[],
  path: RawName,
  isDirectory: boolean,
): { readonly label: string; readonly pattern: Pattern } | null {
  for (const { label, base, prefix, patterns } of sources) {
    const local = localOf(path, base, prefix);
    if (local === null) continue;
    const pattern = lastMatch(patterns, local, isDirectory);
    if (pattern) return { label, pattern };
  }
  return null;
}

function localOf(path: RawName, base: RawName | null, prefix: RawName): RawName | null {
  if (base === null || path === '' || path.startsWith('../')) {
    if (base !== null) return null;
    if (!/^(?:\.\.\/)*$/.test(path)) return prefix + path;
    const segments = prefix.split('/').slice(0, -1);
    const kept = segments.slice(0, segments.length - path.length / 3);
    return kept.length === 0 ? null : kept.join('/');
  }
  return base === '' || base === '.' ? path : path.slice(base.length + 1);
}

/** Whether something below a directory could match: false only where the names on the way are others. */
function mayMatchBelow({ text, isName }: Pattern, directory: RawName): boolean {
  if (isName) return true;
  const wanted = rawName(text).replace(/^\//, '').split('/');
  return directory.split('/').every((name, index) => {
    const segment = wanted[index];
    if (segment === undefined) return false;
    return segment === name || /[*?[\\]/.test(wanted.slice(0, index + 1).join('/'));
  });
}

/** A pattern of a person: as in a .gitignore, and `./a` or the whole path of something in the directory, too. */
function readPattern(given: string, root: string, option: string): Pattern {
  const negation = given.startsWith('!') ? '!' : '';
  let text = given.slice(negation.length);
  if (text.startsWith(`${root}/`)) text = text.slice(root.length);
  else if (text.startsWith('./')) text = text.slice(1);
  text = text.replaceAll(/\/{2,}/g, '/');
  const pattern = parsePattern(rawName(negation + text));
  // On a command line `#` begins no comment.
  const said = pattern ?? (text.startsWith('#') ? parsePattern(rawName(`${negation}\\${text}`)) : null);
  if (said) return said;
  throw new ClientError(
    'invalid_arguments',
    `An empty pattern was given to ${option}: it would leave nothing out.`,
  );
}
