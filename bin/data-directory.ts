/** The directory of one installation: private, used by one `up` at a time, with the token in it. */
import { randomBytes } from 'node:crypto';
import { chmodSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Config, ConfigError } from '../src/config.ts';
import { systemCode } from '../src/errors.ts';
import { identify, isAlive, parseProcessId } from '../src/lifecycle/process-id.ts';

/** Makes the directories that are not there. @throws ConfigError when one of them can't be used */
export function makeDirectories(config: Config): void {
  const { dataDir, runPath, uploadsPath, artifactsPath, logsPath, dbPath } = config;
  for (const directory of [dataDir, runPath, uploadsPath, artifactsPath, logsPath, dirname(dbPath)]) {
    usable(directory, () => mkdirSync(directory, { recursive: true, mode: 0o700 }));
  }
}

/** As {@link makeDirectories}, and sees to it that data and sockets are this user's alone. */
export function makePrivateDirectories(config: Config): void {
  makeDirectories(config);
  for (const directory of [config.dataDir, config.runPath]) {
    usable(directory, () => {
      const { uid, mode } = statSync(directory);
      // The run directory may lie in /tmp, where somebody else could have been first.
      if (uid !== process.getuid?.())
        throw new ConfigError(`${directory} belongs to another user (uid ${uid})`);
      if ((mode & 0o077) !== 0) chmodSync(directory, 0o700);
    });
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
 * Makes this process the only `up` of the data directory.
 * @returns what gives it back
 * @throws ConfigError that names the process that has it
 */
export function lockDataDirectory(config: Config): () => void {
  const file = join(config.dataDir, 'up.pid');
  const self = identify(process.pid);
  if (!self) throw new Error('this process is not in /proc');
  // Linked into place whole: a reader never sees half of it, and only one of two can be first.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(self)}\n`, { mode: 0o600 });
  try {
    for (;;) {
      try {
        linkSync(draft, file);
        return () => rmSync(file, { force: true });
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw error;
      }
      const holder = readRecord(file);
      if (holder && isAlive(holder)) {
        throw new ConfigError(
          `another \`flashpods up\` (pid ${holder.pid}) uses ${config.dataDir}\n  Use that one, end it with \`kill ${holder.pid}\`, or give this one a directory of its own with FLASHPODS_DATA_DIR.`,
        );
      }
      rmSync(file, { force: true }); // its owner was killed
    }
  } finally {
    rmSync(draft, { force: true });
  }
}

function readRecord(file: string): ReturnType<typeof parseProcessId> {
  try {
    return parseProcessId(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    if (error instanceof SyntaxError || systemCode(error) === 'ENOENT') return null;
    throw error;
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
