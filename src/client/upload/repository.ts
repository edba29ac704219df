/** What git knows of a directory: which files it tracks, and where its own rules and data are. */
import { lstat, readFile, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { execa, ExecaError } from 'execa';
import { ifMissing } from '../../files/if-missing.ts';
import type { RawName } from '../../trees/directory.ts';
import { joined, parentOf } from './names.ts';

/** git can't be asked, for a reason that the person should know. */
export class GitUnknown extends Error {}

export interface Tracked {
  readonly files: ReadonlySet<RawName>;
  /** Directories that hold a tracked file, at any depth. */
  readonly directories: ReadonlySet<RawName>;
}

export interface GitDirectory {
  /** Of this work tree: HEAD, index. */
  readonly own: string;
  /** Shared by all work trees: objects, refs, config. */
  readonly common: string;
}

export interface GitSettings {
  /** The user's own ignore file. */
  readonly excludesFile: string;
  readonly ignoreCase: boolean;
}

/**
 * What git tracks in a directory of a work tree, as paths below `below`.
 * @throws GitUnknown
 */
export async function trackedIn(directory: string, below: RawName, signal?: AbortSignal): Promise<Tracked> {
  const files = new Set<RawName>();
  const directories = new Set<RawName>();
  const listed = (await git(directory, ['ls-files', '-z', '--cached'], signal)).toString('latin1');
  for (const name of listed.split('\0')) {
    if (name === '') continue;
    const path = joined(below, name);
    files.add(path);
    for (let above = parentOf(path); above !== '.' && !directories.has(above); above = parentOf(above))
      directories.add(above);
  }
  return { files, directories };
}

/** What is in force in a directory, in a repository or not; git's defaults where git can't be asked. */
export async function gitSettings(directory: string, signal?: AbortSignal): Promise<GitSettings> {
  const settings = { excludesFile: join(homedir(), '.config', 'git', 'ignore'), ignoreCase: false };
  try {
    // One process for both. The last value of a setting holds.
    const query = ['config', '-z', '--get-regexp', '^core\\.(excludesfile|ignorecase)$'];
    for (const line of (await git(directory, query, signal)).toString().split('\0')) {
      const [name = '', value = 'true'] = line.split('\n');
      if (name === 'core.ignorecase') settings.ignoreCase = /^(?:true|yes|on|1)$/i.test(value);
      if (name === 'core.excludesfile')
        settings.excludesFile = resolve(directory, value.replace(/^~(?=\/)/, homedir()));
    }
  } catch (error) {
    if (!(error instanceof GitUnknown)) throw error;
  }
  return settings;
}

/**
 * Where the data of a repository are, from its `.git`: a directory, a file that names one, or a link.
 * @returns null for what is none
 */
export async function gitDirectoryOf(dotGit: string): Promise<GitDirectory | null> {
  const found = await lstat(dotGit).catch(ifMissing(null, 'ENOTDIR'));
  if (found === null) return null;
  let own: string | null;
  if (found.isFile()) {
    const named = /^gitdir: ([^\n]+)\n*$/.exec(await readFile(dotGit, 'utf8'))?.[1];
    own = named === undefined ? null : resolve(dirname(dotGit), named);
  } else own = dotGit;
  own = own === null ? null : await realpath(own).catch(ifMissing(null, 'ENOTDIR', 'ELOOP'));
  if (own === null || !(await isThere(join(own, 'HEAD')))) return null;
  const shared = await readFile(join(own, 'commondir'), 'utf8').catch(ifMissing(null));
  const common = shared === null ? own : await realpath(resolve(own, shared.trim())).catch(ifMissing(null));
  return common === null ? null : { own, common };
}

/** The nearest directory above, this one included, that holds a `.git`; null where there is none. */
export async function topOf(directory: string): Promise<string | null> {
  for (let at = directory; ; at = dirname(at)) {
    if ((await gitDirectoryOf(join(at, '.git')).catch(() => null)) !== null) return at;
    if (dirname(at) === at) return null;
  }
}

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

async function git(directory: string, args: readonly string[], signal?: AbortSignal): Promise<Buffer> {
  // A checkout of another user is only listed here: no hook of its configuration may run, so it may be trusted.
  const safe = ['-c', 'safe.directory=*', '-c', 'core.fsmonitor=false'];
  try {
    const { stdout } = await execa('git', [...safe, ...args], {
      cwd: directory,
      encoding: 'buffer',
      stdin: 'ignore',
      env: {
        LC_ALL: 'C',
        GIT_DIR: undefined,
        GIT_WORK_TREE: undefined,
        GIT_INDEX_FILE: undefined,
        GIT_OPTIONAL_LOCKS: '0',
      },
      ...(signal ? { cancelSignal: signal } : {}),
    });
    return Buffer.from(stdout);
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    signal?.throwIfAborted();
    const said = textOf(error.stderr);
    const why = error.code === 'ENOENT' ? 'git is not installed' : `git failed: ${said.split('\n')[0] ?? ''}`;
    throw new GitUnknown(why, { cause: error });
  }
}

const textOf = (said: unknown): string =>
  said instanceof Uint8Array ? Buffer.from(said).toString('utf8') : '';
