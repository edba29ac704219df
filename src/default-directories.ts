/** Where an installation keeps its things when no setting says otherwise. Without a library: every command asks. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export const defaultDataDirectory = (env: NodeJS.ProcessEnv): string =>
  join(env['XDG_DATA_HOME'] ?? join(env['HOME'] ?? homedir(), '.local', 'share'), 'flashpods');

/** A unix socket's path holds 107 bytes; a data directory that is too deep gets its sockets elsewhere. */
export function defaultRunDirectory(dataDir: string): string {
  const run = join(resolve(dataDir), 'run');
  if (Buffer.byteLength(run) <= 70) return run;
  // Loaded here alone: it takes a third as long as Node itself, and every command comes through this file.
  const { createHash } = process.getBuiltinModule('node:crypto');
  const user = process.getuid?.() ?? 0;
  return `/tmp/flashpods-${user}-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`;
}

/** What the worker of a host keeps: sandboxes, layers, records. */
export const hostDirectory = ({
  dataDir,
  hostName,
}: {
  readonly dataDir: string;
  readonly hostName: string;
}): string => join(dataDir, 'hosts', hostName);
