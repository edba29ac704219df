import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, ExecaError } from 'execa';

/** `.gitignore` could not be followed for a reason that the person should know. */
export class IgnoreUnknown extends Error {}

/**
 * What git ignores below a directory: paths relative to it, directories with a slash at their end. Everything
 * else, tracked or not, belongs to the upload. A tree that is no work tree has its `.gitignore` files read too.
 * @throws IgnoreUnknown when there are `.gitignore` files and no git, or git fails
 */
export async function ignoredByGit(directory: string, signal?: AbortSignal): Promise<ReadonlySet<string>> {
  try {
    const inside = await git(directory, ['rev-parse', '--is-inside-work-tree'], signal);
    if (inside.toString().trim() === 'true') return await listIgnored(directory, [], signal);
    return new Set();
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    signal?.throwIfAborted();
    if (!(await exists(join(directory, '.gitignore')))) return new Set();
    if (error.code === 'ENOENT')
      throw new IgnoreUnknown('git is not installed, so .gitignore is not respected', { cause: error });
    if (!/not a git repository/.test(stderrOf(error))) {
      throw new IgnoreUnknown(
        `git failed, so .gitignore is not respected: ${stderrOf(error).split('\n')[0] ?? ''}`,
        { cause: error },
      );
    }
    return outsideWorkTree(directory, signal);
  }
}

async function outsideWorkTree(directory: string, signal?: AbortSignal): Promise<ReadonlySet<string>> {
  const scratch = await mkdtemp(join(tmpdir(), 'flashpods-ignore-'));
  try {
    await git(scratch, ['init', '--quiet', '--bare', scratch], signal);
    return await listIgnored(directory, [`--git-dir=${scratch}`, `--work-tree=${directory}`], signal);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function listIgnored(
  directory: string,
  options: readonly string[],
  signal?: AbortSignal,
): Promise<ReadonlySet<string>> {
  const query = ['ls-files', '--others', '--ignored', '--exclude-standard', '--directory', '-z'];
  const paths = (await git(directory, [...options, ...query], signal)).toString('utf8').split('\0');
  // `./` alone: the directory itself is ignored by a repository around it. Whoever names it wants what it holds.
  return new Set(paths.filter((path) => path !== ''));
}

async function git(directory: string, args: readonly string[], signal?: AbortSignal): Promise<Buffer> {
  // A checkout of another user is only listed here: no hook of its configuration may run, so it may be trusted.
  const safe = ['-c', 'safe.directory=*', '-c', 'core.fsmonitor=false'];
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
}

const stderrOf = (error: { readonly stderr?: unknown }): string =>
  error.stderr instanceof Uint8Array ? Buffer.from(error.stderr).toString('utf8') : '';

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
