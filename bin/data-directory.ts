/** The directory of one installation: private, used by one `up` at a time, with the token in it. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type Config, ConfigError } from '../src/config.ts';
import { systemCode } from '../src/errors.ts';
import { type Lock, LockHeld, takeLock } from '../src/files/lock.ts';

/**
 * Makes the directories that are not there, and sees to it that data and sockets are this user's alone: who can write
 * there is obeyed by what reads it, also as root.
 * @throws ConfigError when one of them can't be used, belongs to somebody else, or (of sockets) is a link
 */
export function makePrivateDirectories(config: Config): void {
  const { dataDir, runPath, uploadsPath, artifactsPath, logsPath, dbPath } = config;
  // Before anything is made in them.
  for (const directory of [dataDir, runPath]) {
    usable(directory, () => mkdirSync(directory, { recursive: true, mode: 0o700 }));
    // The run directory may lie in /tmp, where somebody else could have been first; the data may well be a link to a disk.
    usable(directory, () => makePrivate(directory, directory === runPath ? constants.O_NOFOLLOW : 0));
  }
  for (const directory of [uploadsPath, artifactsPath, logsPath, dirname(dbPath)])
    usable(directory, () => mkdirSync(directory, { recursive: true, mode: 0o700 }));
}

/** Looks at the directory and changes it by one handle, so that nobody puts another one in between. */
function makePrivate(directory: string, flags: number): void {
  let handle: number;
  try {
    handle = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY | flags);
  } catch (cause) {
    if (!['ELOOP', 'ENOTDIR'].includes(systemCode(cause) ?? '')) throw cause;
    throw new ConfigError(`${directory} is a link or no directory; remove it, or set FLASHPODS_RUN_PATH`, {
      cause,
    });
  }
  try {
    const { uid, mode } = fstatSync(handle);
    if (uid !== process.getuid?.())
      throw new ConfigError(
        `${directory} belongs to another user (uid ${uid}); choose another with FLASHPODS_RUN_PATH or FLASHPODS_DATA_DIR`,
      );
    if ((mode & 0o077) !== 0) fchmodSync(handle, 0o700);
  } finally {
    closeSync(handle);
  }
}

/** What the rsync daemon, the API and the worker of one machine share. */
export const rsyncPath = (config: Config): string => join(config.runPath, 'rsync');

/** Where the Podman service of `up` has its socket and its record. */
export const podmanRunPath = (config: Config): string => join(config.runPath, 'podman');

function usable(directory: string, work: () => void): void {
  try {
    work();
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    throw new ConfigError(
      `${directory} can't be used (${systemCode(cause) ?? 'unknown'}); choose another with FLASHPODS_DATA_DIR`,
      { cause },
    );
  }
}

/**
 * Makes this process the only `up` of the data directory. It may be another's that this is a copy of: only the lock
 * tells, which a copy does not have. @throws ConfigError that names the process that has it
 */
export const lockDataDirectory = ({ dataDir }: Config): Lock =>
  lockFor(dataDir, 'give this one a directory of its own with FLASHPODS_DATA_DIR');

/** The same for the run directory, which a setting may have given to two installations. */
export const lockRunDirectory = ({ runPath }: Config): Lock =>
  lockFor(runPath, 'give this one a run directory of its own with FLASHPODS_RUN_PATH');

function lockFor(directory: string, otherwise: string): Lock {
  try {
    return takeLock(join(directory, 'up'));
  } catch (cause) {
    if (!(cause instanceof LockHeld)) throw cause;
    const pid = cause.holder?.pid;
    const end = pid === undefined ? 'end it' : `end it with \`kill ${pid}\``;
    throw new ConfigError(
      `another \`flashpods up\`${pid === undefined ? '' : ` (pid ${pid})`} uses ${directory}\n  Use that one, ${end}, or ${otherwise}.`,
      { cause },
    );
  }
}

/** Makes a token of 64 hex characters where there is none, readable by this user alone. */
export function makeToken(config: Config): void {
  if (config.apiToken !== undefined) return;
  try {
    writeFileSync(config.tokenFile, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

/** @throws ConfigError when there is none */
export function readToken(config: Config): string {
  if (config.apiToken !== undefined) return config.apiToken;
  let token: string;
  try {
    token = readFileSync(config.tokenFile, 'utf8').trim();
  } catch (cause) {
    throw new ConfigError(
      `there is no token: set FLASHPODS_API_TOKEN, or FLASHPODS_TOKEN_FILE to a file that can be read (${config.tokenFile}: ${systemCode(cause) ?? 'unknown'})`,
      { cause },
    );
  }
  if (!/^[\x21-\x7e]{16,512}$/.test(token)) {
    throw new ConfigError(
      `${config.tokenFile} holds no token: 16 to 512 printable characters without spaces are one`,
    );
  }
  return token;
}
