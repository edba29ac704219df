import type { Stats } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import { ifThere } from '../files/if-missing.ts';
import { isLoopback } from './loopback.ts';

// Not by `import`: see environment.ts.
const fs = process.getBuiltinModule('node:fs');

const serverFile = (runPath: string): string => join(runPath, 'server.json');

/** Tells clients of this machine where the API listens; mode 0600, written in one step. */
export async function announceLocalServer(
  runPath: string,
  server: { url: string; pid: number },
): Promise<void> {
  const file = serverFile(runPath);
  const url = reachedHere(server.url);
  const temporary = `${file}.${server.pid}`;
  const text = JSON.stringify({ ...server, url, place: placeOf(runPath) });
  await fs.promises.writeFile(temporary, `${text}\n`, { mode: 0o600 });
  await fs.promises.rename(temporary, file);
}

/** A server that listens on all addresses is reached by the loopback ones as well. */
const reachedHere = (url: string): string =>
  url.replace(/^http:\/\/0\.0\.0\.0:/, 'http://127.0.0.1:').replace(/^http:\/\/\[::\]:/, 'http://[::1]:');

/** Takes the announcement back, unless a successor has written its own since. */
export async function withdrawLocalServer(runPath: string, pid: number): Promise<void> {
  if (read(serverFile(runPath))?.pid === pid) await fs.promises.rm(serverFile(runPath), { force: true });
}

/** As in files/place.ts, which clients don't load. */
function placeOf(directory: string): string {
  const { dev, ino } = fs.statSync(directory, { bigint: true });
  return `${dev}:${ino}`;
}

/**
 * The server that `up` started on this machine and that still lives. That of another installation, whose directory this
 * one is a copy of, is none: the token is the same, and a `kill` would end a job there. The directory may lie in /tmp,
 * where anybody could have put one that leads our token elsewhere: so directory and file have to be ours or root's, no
 * links and closed to others, and the address one of this machine.
 */
export function findLocalServer(runPath: string): { url: string; file: string } | null {
  const file = serverFile(runPath);
  if (!isOurs(ifThere(() => fs.lstatSync(runPath), undefined, 'ENOTDIR', 'EACCES'))) return null;
  const server = read(file);
  if (!server || !lives(server.pid) || !isLoopbackUrl(server.url)) return null;
  if (server.place !== undefined && server.place !== placeOf(runPath)) return null;
  return { url: server.url, file };
}

const isOurs = (found: Stats | undefined): boolean =>
  found !== undefined &&
  found.isDirectory() &&
  (found.uid === 0 || found.uid === process.getuid?.()) &&
  (found.mode & 0o022) === 0;

const isLoopbackUrl = (text: string): boolean => {
  const url = URL.parse(text);
  return url?.protocol === 'http:' && isLoopback(url);
};

function read(file: string): { url: string; pid: number; place?: unknown } | null {
  let value: unknown;
  try {
    // One handle for what is read and whose it is.
    const handle = fs.openSync(
      file,
      fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK,
    );
    try {
      const { uid } = fs.fstatSync(handle);
      if (uid !== 0 && uid !== process.getuid?.()) return null;
      value = JSON.parse(fs.readFileSync(handle, 'utf8'));
    } finally {
      fs.closeSync(handle);
    }
  } catch (error) {
    // Written in one step, so a file that is no JSON is not ours either.
    if (
      error instanceof SyntaxError ||
      ['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'EISDIR'].includes(systemCode(error) ?? '')
    )
      return null;
    throw error;
  }
  const fields = typeof value === 'object' && value !== null ? value : {};
  if (!('url' in fields) || !('pid' in fields)) return null;
  return typeof fields.url === 'string' && Number.isSafeInteger(fields.pid)
    ? {
        url: fields.url,
        pid: Number(fields.pid),
        ...('place' in fields ? { place: fields.place } : {}),
      }
    : null;
}

function lives(pid: number): boolean {
  if (pid < 1) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}
