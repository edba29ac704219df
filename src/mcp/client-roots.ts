/**
 * What of the person's disk tools may read and write: the directories that the client names as its roots, or where the
 * agent was started. What a job prints can mislead an agent, so no path of its choice leads to keys and settings.
 */
import { realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isGitName } from '../client/artifact-places.ts';
import { ClientError } from '../client/client-error.ts';
import { ifMissing } from '../files/if-missing.ts';

/** Asks the client for its roots. @returns their URIs, or null for a client that has none to name */
export type AskRoots = () => Promise<readonly string[] | null>;

export interface FenceOptions {
  /** Directories that the person named (`flashpods mcp --root`), also ones below a dot-directory of the home. */
  readonly roots: readonly string[];
  readonly workingDirectory: string;
  readonly home: string;
}

export class Fence {
  readonly #options: FenceOptions;

  constructor(options: FenceOptions) {
    this.#options = options;
  }

  /**
   * The path of what is read, without links and `..`, whether it is there or not; a slash at its end stays.
   * @param what for people: `files.local_path`
   * @throws ClientError path_not_allowed, which says what is allowed
   */
  async toRead(path: string, what: string, ask: AskRoots): Promise<string> {
    return this.#inside(path, what, ask);
  }

  /**
   * The path of what is written, as of {@link toRead}: also none in git's own directory, whose hooks git runs.
   * @param what for people: `save_to`
   * @throws ClientError path_not_allowed, which says what is allowed
   */
  async toWrite(path: string, what: string, ask: AskRoots): Promise<string> {
    if ((await realOf(path)).split(sep).some(isGitName))
      throw refusalOf(
        path,
        what,
        'is in the own directory of a git repository, and git runs what lies there',
        'Give a path outside of it.',
      );
    return this.#inside(path, what, ask);
  }

  async #inside(path: string, what: string, ask: AskRoots): Promise<string> {
    const real = await realOf(path);
    const home = await realOf(this.#options.home);
    const refuse = (why: string, advice: string): ClientError => refusalOf(path, what, why, advice);
    const named = await Promise.all(this.#options.roots.map(realOf));
    const slash = path.endsWith('/') && real !== '/' ? '/' : '';
    if (named.some((root) => holds(root, real))) return real + slash;
    const roots = await this.#roots(home, ask);
    if (roots.length === 0 && named.length === 0) {
      throw refuse(
        'is not allowed: the client names no roots, and this program was started in the home directory or in /',
        'Start the agent in the directory of the project, or let the person give it: `flashpods mcp --root DIRECTORY`.',
      );
    }
    if (!roots.some((root) => holds(root, real))) {
      throw refuse(
        `is outside of what the person opened here (${[...named, ...roots].slice(0, 5).join(', ')})`,
        'Give a path in there, or let the person add one: `flashpods mcp --root DIRECTORY`.',
      );
    }
    const hidden =
      'Settings and keys are kept there. The person allows it with `flashpods mcp --root DIRECTORY`.';
    if (holds(real, home))
      throw refuse('is or holds the home directory, with all that is hidden in it', hidden);
    if (holds(home, real) && relative(home, real).startsWith('.'))
      throw refuse('is hidden in the home directory', hidden);
    return real + slash;
  }

  /** The first directory that the person opened, to read it. @throws ClientError path_not_allowed where there is none */
  async first(what: string, ask: AskRoots): Promise<string> {
    const [root = '/'] = await this.#roots(await realOf(this.#options.home), ask);
    return this.toRead(root === '/' ? (this.#options.roots[0] ?? root) : root, what, ask);
  }

  async #roots(home: string, ask: AskRoots): Promise<string[]> {
    const given: string[] = [];
    for (const uri of (await ask()) ?? []) {
      const path = pathOf(uri);
      if (path !== null) given.push(await realOf(path));
    }
    if (given.length > 0) return given;
    const here = await realOf(this.#options.workingDirectory);
    return here === '/' || here === home ? [] : [here];
  }
}

const refusalOf = (path: string, what: string, why: string, advice: string): ClientError =>
  new ClientError('path_not_allowed', `${what} ${JSON.stringify(path)} ${why}.`, { advice });

const holds = (directory: string, path: string): boolean =>
  path === directory || path.startsWith(directory.endsWith(sep) ? directory : directory + sep);

/** The path of a root; null for what is no file of this machine. */
function pathOf(uri: string): string | null {
  try {
    const path = uri.startsWith('file:') ? fileURLToPath(uri) : uri;
    return isAbsolute(path) ? path : null;
  } catch {
    return null;
  }
}

/** Without links as far as it is there. */
async function realOf(path: string): Promise<string> {
  const whole = resolve(path);
  const found = await realpath(whole).catch(ifMissing(null, 'ENOTDIR', 'ELOOP', 'EACCES'));
  if (found !== null || whole === '/') return found ?? whole;
  return join(await realOf(dirname(whole)), basename(whole));
}
