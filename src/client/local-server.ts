import { join } from 'node:path';
import { systemCode } from '../errors.ts';

// Not by `import`: see environment.ts.
const fs = process.getBuiltinModule('node:fs');

const serverFile = (runPath: string): string => join(runPath, 'server.json');

/** Tells clients of this machine where the API listens; mode 0600, written in one step. */
export async function announceLocalServer(
  runPath: string,
  server: { url: string; pid: number },
): Promise<void> {
  const file = serverFile(runPath);
  const temporary = `${file}.${server.pid}`;
  const text = JSON.stringify({ ...server, place: placeOf(runPath) });
  await fs.promises.writeFile(temporary, `${text}\n`, { mode: 0o600 });
  await fs.promises.rename(temporary, file);
}

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
 * one is a copy of, is none: the token is the same, and a `kill` would end a job there. A file of another user is not believed:
 * the directory may lie in /tmp, where anybody could have put one that leads our token elsewhere.
 */
export function findLocalServer(runPath: string): { url: string; file: string } | null {
  const file = serverFile(runPath);
  const server = read(file);
  if (!server || !lives(server.pid)) return null;
  if (server.place !== undefined && server.place !== placeOf(runPath)) return null;
  const { uid } = fs.statSync(file);
  return uid === 0 || uid === process.getuid?.() ? { url: server.url, file } : null;
}

function read(file: string): { url: string; pid: number; place?: unknown } | null {
  let value: unknown;
  try {
    value = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    // Written in one step, so a file that is no JSON is not ours either.
    if (error instanceof SyntaxError || ['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error) ?? ''))
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
