/**
 * Which installation a data directory is. A copy (`cp -a`, a backup that was restored, a move to another disk) is one of
 * its own: what it says of processes, sockets, mounts and containers is true of the original, and stays alone.
 */
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Config, ConfigError } from '../src/config.ts';
import { giveNewHome, isCopiedDatabase, recordedWorkers } from '../src/database/home.ts';
import { ifThere } from '../src/files/if-missing.ts';
import { readJsonFile } from '../src/files/json-file.ts';
import { LockHeld, takeLock, type Lock } from '../src/files/lock.ts';
import { emptyCopy, isCopy, markPlace } from '../src/files/place.ts';
import { livingOriginal, type ProcessIdentity } from '../src/lifecycle/process-identity.ts';
import type { Logger } from '../src/observability/logger.ts';
import { pause } from '../src/timing/bell.ts';

const PATIENCE_MS = 30_000;
const LOOK_MS = 50;

/**
 * Gives a copy a name of its own and removes what was the original's alone: its run directory, what its Redis held (it is
 * written anew from the database), its sandboxes. Does nothing for an installation at its own place. The directories
 * must be there.
 * @throws ConfigError when the original still runs on this machine: what waits would run in both
 */
export async function enterInstallation(config: Config, logger: Logger): Promise<void> {
  if (isCopied(config)) {
    const lock = await lockEntry(config.dataDir);
    try {
      if (isCopied(config)) enterAsCopy(config, logger);
    } finally {
      lock.release();
    }
  }
  markPlace(config.runPath);
}

function enterAsCopy(config: Config, logger: Logger): void {
  const original = findOriginal(config);
  if (original !== null)
    throw new ConfigError(
      `${config.dataDir} is the copy of an installation that still runs (pid ${original.pid}): its waiting jobs would run twice\n  End the original first (\`kill ${original.pid}\`), or use another directory with FLASHPODS_DATA_DIR. The copy gets an id of its own at its first start, and both can run then.`,
    );
  for (const { marked, emptied } of copiedDirectories(config)) emptyCopy(marked, emptied);
  // Last: until then the next start does it all again.
  if (isCopiedDatabase(config.dbPath)) giveNewHome(config.dbPath);
  logger.warn(
    { data: config.dataDir },
    'this directory is a copy of another installation: it has an id of its own now; what ran there is lost here, and what waited there runs here',
  );
}

const isCopied = (config: Config): boolean =>
  isCopiedDatabase(config.dbPath) || copiedDirectories(config).length > 0;

/** Those that say so, and what is the original's alone in each. */
function copiedDirectories({
  dataDir,
  runPath,
}: Config): { readonly marked: string; readonly emptied: string }[] {
  const whole = [runPath, join(dataDir, 'redis')].map((path) => ({ marked: path, emptied: path }));
  const hosts = hostNames(dataDir).map((name) => {
    const marked = join(dataDir, 'hosts', name);
    return { marked, emptied: join(marked, 'sandboxes') };
  });
  return [...whole, ...hosts].filter(({ marked }) => isCopy(marked));
}

const hostNames = (dataDir: string): string[] =>
  ifThere(() => readdirSync(join(dataDir, 'hosts')), []).filter((name) =>
    ifThere(() => statSync(join(dataDir, 'hosts', name)).isDirectory(), false),
  );

/** A living process of the original: its `up`, a worker, or a child of its `up`. */
function findOriginal({ dataDir, runPath, dbPath }: Config): ProcessIdentity | null {
  const children = readJsonFile(join(runPath, 'children.json'));
  const holders = hostNames(dataDir).map((name) => join(dataDir, 'hosts', name));
  const records: [unknown, string][] = [
    [readJsonFile(join(dataDir, 'up.json')), dataDir],
    ...holders.map((directory): [unknown, string] => [
      readJsonFile(join(directory, 'holder.json')),
      directory,
    ]),
    ...Object.values(children ?? {}).map((child): [unknown, string] => [child, runPath]),
    ...(isCopiedDatabase(dbPath) ? recordedWorkers(dbPath) : []).map((worker): [unknown, string] => [
      worker,
      dirname(dbPath),
    ]),
  ];
  for (const [record, directory] of records) {
    const found = livingOriginal(record, directory);
    if (found) return found;
  }
  return null;
}

/** API and worker of a copy may be started at once. */
async function lockEntry(dataDir: string): Promise<Lock> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return takeLock(join(dataDir, 'entry'));
    } catch (error) {
      if (!(error instanceof LockHeld) || performance.now() > deadline) throw error;
      await pause(LOOK_MS);
    }
  }
}
