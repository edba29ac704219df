/**
 * What git knows of a directory: which files it tracks, and where its own rules and data are.
 *
 * A repository may come from anybody: from an archive, or from a job's artifacts. Its configuration names programs (for
 * ssh, for file systems, for filters and hooks), and git fetches what it lacks by them. So git never runs in it: it reads
 * a copy of the index in an empty repository of ours, and the configuration as a file of values.
 */
import { constants } from 'node:fs';
import {
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { execa, ExecaError } from 'execa';
import { ifMissing } from '../../files/if-missing.ts';
import { readFully } from '../../files/read-fully.ts';
import { rawName, type RawName } from '../../trees/directory.ts';
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
 * @param top the directory with the `.git`, `directory` or one above it
 * @throws GitUnknown
 */
export async function trackedIn(
  top: string,
  directory: string,
  below: RawName,
  signal?: AbortSignal,
): Promise<Tracked> {
  const files = new Set<RawName>();
  const directories = new Set<RawName>();
  const found = await gitDirectoryOf(join(top, '.git'));
  if (found === null) return { files, directories };
  const above = top === directory ? '' : `${rawName(relative(top, directory))}/`;
  for (const tracked of (await indexed(found, signal)).toString('latin1').split('\0')) {
    // A whole directory that is not checked out is one entry, with a slash.
    if (tracked === '' || tracked.endsWith('/') || !tracked.startsWith(above)) continue;
    const path = joined(below, tracked.slice(above.length));
    files.add(path);
    for (let at = parentOf(path); at !== '.' && !directories.has(at); at = parentOf(at)) directories.add(at);
  }
  return { files, directories };
}

/** The names in an index, each with a NUL behind it. @throws GitUnknown */
async function indexed({ own, common }: GitDirectory, signal?: AbortSignal): Promise<Buffer> {
  if (!(await isFile(join(own, 'index')))) return Buffer.alloc(0);
  const format = await valuesOf(join(common, 'config'), '^extensions\\.objectformat$', signal);
  return inEmptyRepository(format.get('extensions.objectformat'), async (scratch) => {
    for (const name of await readdir(own))
      if ((name === 'index' || name.startsWith('sharedindex.')) && (await isFile(join(own, name))))
        await symlink(join(own, name), join(scratch, name));
    const args = [`--git-dir=${scratch}`, `--work-tree=${scratch}`, 'ls-files', '-z', '--cached'];
    try {
      return await git(scratch, [...args, '--sparse'], signal);
    } catch (error) {
      // Before git 2.35 there was neither the option nor what it is for.
      if (!(error instanceof GitUnknown) || !error.message.includes('sparse')) throw error;
      return git(scratch, args, signal);
    }
  });
}

/** A repository for one call, in which nothing is set but the format of its object names. */
async function inEmptyRepository<T>(
  objectFormat: string | undefined,
  work: (scratch: string) => Promise<T>,
): Promise<T> {
  const scratch = await mkdtemp(join(tmpdir(), 'flashpods-git-'));
  try {
    await mkdir(join(scratch, 'objects'));
    await mkdir(join(scratch, 'refs'));
    await writeFile(join(scratch, 'HEAD'), 'ref: refs/heads/none\n');
    if (objectFormat === 'sha256') {
      const config = '[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n';
      await writeFile(join(scratch, 'config'), config);
    }
    return await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * What is in force in a directory, in a repository or not; git's defaults where git can't be asked. Of a repository
 * itself only whether its file system tells upper case from lower.
 */
export async function gitSettings(
  directory: string,
  configHome = join(homedir(), '.config'),
  signal?: AbortSignal,
): Promise<GitSettings> {
  const own = await valuesOf(null, '^core\\.(excludesfile|ignorecase)$', signal);
  const top = await topOf(directory);
  const found = top === null ? null : await gitDirectoryOf(join(top, '.git'));
  const here = found ? await valuesOf(join(found.common, 'config'), '^core\\.ignorecase$', signal) : null;
  const ignoreCase = here?.get('core.ignorecase') ?? own.get('core.ignorecase') ?? 'false';
  const excludesFile = own.get('core.excludesfile')?.replace(/^~(?=\/)/, homedir());
  return {
    excludesFile: resolve(homedir(), excludesFile ?? join(configHome, 'git', 'ignore')),
    ignoreCase: /^(?:true|yes|on|1)$/i.test(ignoreCase),
  };
}

/** What a repository says where its work tree is, as it says it; null when it says nothing. */
export const workTreeOf = async (common: string): Promise<string | null> =>
  (await valuesOf(join(common, 'config'), '^core\\.worktree$')).get('core.worktree') ?? null;

/**
 * Values of a configuration as text; nothing that it includes, and nothing that it names is run.
 * @param file null for the user's and the machine's own, with what they include
 */
async function valuesOf(
  file: string | null,
  names: string,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const values = new Map<string, string>();
  if (file !== null && !(await isFile(file))) return values;
  const from = file === null ? [] : ['--file', file, '--no-includes'];
  try {
    // The last value of a setting holds.
    for (const line of (await git('/', ['config', '-z', ...from, '--get-regexp', names], signal))
      .toString()
      .split('\0')) {
      const [name = '', value = 'true'] = line.split('\n');
      values.set(name, value);
    }
  } catch (error) {
    if (!(error instanceof GitUnknown)) throw error;
  }
  return values;
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
    const named = /^gitdir: ([^\n]+)\n*$/.exec(await readSmall(dotGit))?.[1];
    own = named === undefined ? null : resolve(dirname(dotGit), named);
  } else own = dotGit;
  own = own === null ? null : await realpath(own).catch(ifMissing(null, 'ENOTDIR', 'ELOOP'));
  if (own === null || !(await isThere(join(own, 'HEAD')))) return null;
  const shared = await readSmall(join(own, 'commondir')).catch(ifMissing(null));
  const common = shared === null ? own : await realpath(resolve(own, shared.trim())).catch(ifMissing(null));
  return common === null || !(await isThere(join(common, 'objects'))) ? null : { own, common };
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

/** Larger ones of git's own small files are none of git's. */
const MAX_SMALL_BYTES = 64 * 1024;

/** A text of a repository, the beginning of one that is too long; '' for what is no file. @throws the system's errors */
export async function readSmall(path: string): Promise<string> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) return '';
    const bytes = Buffer.alloc(MAX_SMALL_BYTES);
    return bytes.toString('utf8', 0, await readFully(handle, bytes, 0));
  } finally {
    await handle.close();
  }
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

async function git(directory: string, args: readonly string[], signal?: AbortSignal): Promise<Buffer> {
  try {
    const { stdout } = await execa('git', ['-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=', ...args], {
      cwd: directory,
      encoding: 'buffer',
      stdin: 'ignore',
      env: {
        LC_ALL: 'C',
        // One that is not there, unless an argument names another: none is looked for above.
        GIT_DIR: '/nonexistent',
        GIT_WORK_TREE: undefined,
        GIT_INDEX_FILE: undefined,
        GIT_COMMON_DIR: undefined,
        GIT_OBJECT_DIRECTORY: undefined,
        GIT_ALTERNATE_OBJECT_DIRECTORIES: undefined,
        GIT_OPTIONAL_LOCKS: '0',
        GIT_NO_LAZY_FETCH: '1',
        GIT_ALLOW_PROTOCOL: 'none',
        GIT_TERMINAL_PROMPT: '0',
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
