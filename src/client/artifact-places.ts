/** Where artifacts are put: directories below one, in which nothing of somebody else is followed or changed. */
import { constants } from 'node:fs';
import { access, lstat, mkdir, opendir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../errors.ts';
import { ClientError } from './client-error.ts';

/**
 * Makes a directory with those above it, where it is missing, and sees that it can be written to.
 * @throws ClientError download_failed
 */
export async function makeOutputDirectory(path: string): Promise<void> {
  try {
    await makeDirectories(path);
    await access(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw asClientError(error, path);
  }
}

/** One level after the other: Node's own `recursive` never returns where the kernel denies that a parent exists. */
async function makeDirectories(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const code = systemCode(error);
    const parent = dirname(path);
    if (code === 'ENOENT' && parent !== path) {
      await makeDirectories(parent);
      await mkdir(path);
    } else if (code !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error;
  }
}

/** The directories below one that are nobody else's: a fetch has made them, or found this one empty. */
export class NewDirectories {
  readonly root: string;
  /** Paths by names below `root`, in the order of their making. */
  readonly made = new Map<string, string>();
  #rootIsNew = false;

  constructor(root: string) {
    this.root = root;
  }

  /** Makes the root, too. @throws ClientError download_failed */
  async start(): Promise<void> {
    await makeOutputDirectory(this.root);
    try {
      this.#rootIsNew = await isEmpty(this.root);
    } catch (error) {
      throw asClientError(error, this.root);
    }
  }

  /** @param name below the root, '' for the root itself */
  has(name: string): boolean {
    return name === '' ? this.#rootIsNew : this.made.has(name);
  }
}

/**
 * Makes the directories that an artifact lies in, and follows no symlink on the way.
 * @returns the artifact's path
 * @throws ClientError unsafe_artifact_name, file_exists, download_failed
 */
export async function makePlace(directories: NewDirectories, name: string): Promise<string> {
  const segments = segmentsOf(name);
  let parent = directories.root;
  for (const [index, segment] of segments.entries()) {
    const above = segments.slice(0, index).join('/');
    const path = join(parent, segment);
    if (isGitName(segment) && !directories.has(above)) throw repositoryInTheWay(name, parent);
    if (index === segments.length - 1) return path;
    parent = path;
    try {
      if (await makeRealDirectory(path, name))
        directories.made.set(segments.slice(0, index + 1).join('/'), path);
    } catch (error) {
      throw asClientError(error, path);
    }
  }
  return parent;
}

/**
 * What git takes for a repository's data, on any file system: hooks and settings in it are programs that the next git
 * command runs. Where somebody works already, a job must not put any.
 */
export function isGitName(segment: string): boolean {
  // HFS+ ignores these characters, NTFS what follows a colon and dots and spaces at the end.
  const plain = segment.replace(/[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g, '').toLowerCase();
  return /^(\.git|git~1)[. ]*(:.*)?$/.test(plain);
}

export const repositoryInTheWay = (name: string, directory: string): ClientError =>
  new ClientError(
    'unsafe_artifact_name',
    `${JSON.stringify(name.slice(0, 200))} belongs to a git repository, and ${directory} is not new: git would run its hooks there.`,
    { advice: 'Fetch it into a directory that is empty or missing.' },
  );

/**
 * Makes a directory, unless it is there. @returns whether it was not
 * @throws ClientError file_exists, download_failed
 */
export async function makeArtifactDirectory(path: string, name: string): Promise<boolean> {
  try {
    return await makeRealDirectory(path, name);
  } catch (error) {
    throw asClientError(error, path);
  }
}

/** The rules of the API for names of artifacts, checked here because a server is not trusted to keep them. */
export function segmentsOf(name: string): readonly string[] {
  const segments = name.split('/');
  const safe = segments.every(
    (segment) =>
      segment !== '' &&
      segment !== '.' &&
      segment !== '..' &&
      segment.trim() === segment &&
      Buffer.byteLength(segment) <= 255 &&
      !/[\\\0]/.test(segment),
  );
  if (safe) return segments;
  throw new ClientError(
    'unsafe_artifact_name',
    `The artifact name ${JSON.stringify(name.slice(0, 200))} is not safe.`,
  );
}

/** @returns whether it was made now */
async function makeRealDirectory(path: string, name: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  // A symlink here would lead what the server sends to wherever it points.
  const found = await lstat(path);
  if (found.isDirectory()) return false;
  const what = found.isSymbolicLink() ? 'a symlink' : 'not a directory';
  throw new ClientError('file_exists', `${name} can't be stored: ${path} is ${what}.`);
}

async function isEmpty(path: string): Promise<boolean> {
  for await (const _entry of await opendir(path)) return false;
  return true;
}

/** What the system says of a path, told as such; everything else as it is. */
export function asClientError(error: unknown, path: string): unknown {
  const code = systemCode(error);
  if (error instanceof ClientError || code === undefined) return error;
  return new ClientError('download_failed', `${path} can't be written (${code}).`, {
    advice: 'Check the path, its permissions and the space on its disk.',
    cause: error,
  });
}

export const fileExists = (path: string): ClientError =>
  new ClientError('file_exists', `${path} exists already.`);
