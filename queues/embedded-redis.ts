/**
 * A private redis-server as a child: reachable through a unix socket only, every write in an append-only file, and
 * nothing ever evicted. It outlives a parent that crashed; the next parent of the same directory uses it on.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { systemCode } from '../src/errors.ts';
import { ifThere } from '../src/files/if-missing.ts';
import { readJsonFile, writeJsonFile } from '../src/files/json-file.ts';
import { type Lock, LockHeld, takeLock } from '../src/files/lock.ts';
import { isCopy, markPlace, placeOf } from '../src/files/place.ts';
import { asItIs, type Launch } from '../src/lifecycle/launch.ts';
import { once } from '../src/lifecycle/once.ts';
import {
  fromRecord,
  identify,
  isAlive,
  type ProcessIdentity,
  sendSignal,
  toRecord,
} from '../src/lifecycle/process-identity.ts';
import type { Logger } from '../src/observability/logger.ts';
import { within } from '../src/timing/within.ts';

export interface EmbeddedRedisOptions {
  /** Holds data, log and pid file. */
  readonly dir: string;
  /** At most 107 bytes. */
  readonly socketPath: string;
  /** How a server is started; as it is by default. */
  readonly launch?: Launch;
  readonly logger: Logger;
}

export interface EmbeddedRedis {
  /** `unix:///…` */
  readonly url: string;
  readonly pid: number;
  /** Whether a server was taken over that an earlier parent had left. */
  readonly reused: boolean;
  /** Saves and ends the server. May be called twice. */
  stop(): Promise<void>;
  /** Resolves when the server has ended, for any reason. */
  readonly exited: Promise<void>;
}

/** Loading a large append-only file takes its time; a server that says so is waited for. */
const START_MS = 60_000;
const STOP_MS = 15_000;
const POLL_MS = 5;
const PID_FILE = 'redis.pid';

/**
 * @throws Error when the directory belongs to another live process, the data are damaged, or the server can't start;
 * the message says what to do
 */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  mkdirSync(options.dir, { recursive: true, mode: 0o700 });
  const lock = lockDirectory(options.dir);
  if (isCopy(options.dir)) {
    lock.release();
    throw new Error(`${options.dir} is a copy: what is in it belongs to another installation`);
  }
  markPlace(options.dir);
  try {
    return await start(options, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** @throws Error when a live process has it */
function lockDirectory(dir: string): Lock {
  try {
    return takeLock(join(dir, 'parent'));
  } catch (cause) {
    if (!(cause instanceof LockHeld)) throw cause;
    throw new Error(`another process uses ${dir} already; stop it, or choose another data directory`, {
      cause,
    });
  }
}

async function start(options: EmbeddedRedisOptions, lock: Lock): Promise<EmbeddedRedis> {
  const { dir, socketPath, logger, launch = asItIs } = options;
  const pidFile = join(dir, PID_FILE);
  // The socket tells also of a server whose parent was killed before it could write the file.
  const left = runningServer(dir) ?? (await serverAt(socketPath, dir));
  let ended = false;
  let exited: Promise<void>;
  let pid: number;
  if (left) {
    pid = left.pid;
    logger.info({ pid }, 'using the redis-server that an earlier process left');
    exited = (async () => {
      while (isAlive(left)) await delay(100, undefined, { ref: false });
    })();
  } else {
    rmSync(socketPath, { force: true });
    const logOffset = sizeOf(join(dir, 'redis.log'));
    ({ pid, exited } = await spawnServer(dir, socketPath, launch));
    const child = identify(pid);
    if (child) writeJsonFile(pidFile, toRecord(child, dir));
    void exited.then(() => {
      if (!ended) logger.error({ dir, tail: logSince(dir, logOffset) }, 'redis-server has ended');
    });
    await answers(socketPath, exited, () => explain(dir, logSince(dir, logOffset)));
  }
  if (left) {
    await answers(
      socketPath,
      exited,
      () => `the redis-server (pid ${pid}) that an earlier process left has ended; start again`,
    );
  }
  const self = left ?? identify(pid);
  const stop = once(async () => {
    ended = true;
    // Nothing else may be left to keep the event loop alive: the child is unreferenced, so that it keeps nobody.
    const hold = setInterval(() => undefined, STOP_MS);
    try {
      if (self) sendSignal(self, 'SIGTERM');
      if ((await within(exited, STOP_MS, 'late' as const)) === 'late') {
        logger.error({ pid }, 'redis-server did not end in time; killing it');
        if (self) sendSignal(self, 'SIGKILL');
        await exited;
      }
    } finally {
      clearInterval(hold);
    }
    rmSync(pidFile, { force: true });
    rmSync(socketPath, { force: true });
    lock.release();
  });
  return { url: `unix://${socketPath}`, pid, reused: left !== null, stop, exited };
}

async function spawnServer(
  dir: string,
  socketPath: string,
  launch: Launch,
): Promise<{ pid: number; exited: Promise<void> }> {
  const args = ['--port', '0', '--unixsocket', socketPath, '--unixsocketperm', '700', '--dir', dir];
  args.push(
    '--appendonly',
    'yes',
    '--appendfsync',
    'everysec',
    '--save',
    '',
    '--maxmemory-policy',
    'noeviction',
  );
  args.push('--logfile', join(dir, 'redis.log'), '--daemonize', 'no');
  // A group of its own: Ctrl-C reaches us only, and Redis goes last.
  const [file, words] = launch('redis-server', args);
  const child = spawn(file, words, { stdio: 'ignore', detached: true });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => {
      const advice =
        systemCode(cause) === 'ENOENT'
          ? 'redis-server is not installed; on Debian: apt-get install redis-server'
          : "redis-server can't be started";
      reject(new Error(advice, { cause }));
    });
  });
  if (child.pid === undefined) throw new Error('redis-server has no pid');
  // `up` ends when its own work has: the server does not keep it.
  child.unref();
  return { pid: child.pid, exited };
}

async function answers(socketPath: string, exited: Promise<void>, why: () => string): Promise<void> {
  const deadline = performance.now() + START_MS;
  const gone = exited.then(() => 'gone' as const);
  while (performance.now() < deadline) {
    const outcome = await Promise.race([ping(socketPath), gone]);
    if (outcome === 'gone') throw new Error(why());
    if (outcome) return;
    await delay(POLL_MS);
  }
  throw new Error(
    `redis-server does not answer on ${socketPath} within ${START_MS / 1_000} s; see redis.log in its directory`,
  );
}

const ping = (socketPath: string): Promise<boolean> =>
  probe(socketPath, async (redis) => (await redis.ping()) === 'PONG', false);

/** The server that listens there, if one does. @throws Error when it keeps its data in another directory than `dir` */
async function serverAt(socketPath: string, dir: string): Promise<ProcessIdentity | null> {
  const found = await probe(
    socketPath,
    async (redis) => {
      const pid = Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1]);
      return { process: identify(pid), dir: String(((await redis.config('GET', 'dir')) as string[])[1]) };
    },
    null,
  );
  if (found === null) return null;
  if (placeOf(found.dir) !== placeOf(dir))
    throw new Error(
      `a redis-server of another installation (${found.dir}) listens on ${socketPath}; end it, or give this one a run directory of its own with FLASHPODS_RUN_PATH`,
    );
  return found.process;
}

/** @returns `otherwise` when nothing answers there: not up yet, loading, or gone */
async function probe<T>(socketPath: string, ask: (redis: Redis) => Promise<T>, otherwise: T): Promise<T> {
  const redis = new Redis({
    path: socketPath,
    lazyConnect: true,
    retryStrategy: () => null,
    commandTimeout: 2_000,
    enableReadyCheck: false,
  });
  redis.on('error', () => undefined); // the calls tell
  try {
    await redis.connect();
    return await ask(redis);
  } catch {
    return otherwise;
  } finally {
    redis.disconnect();
  }
}

/** Which of them it is depends on what the damaged bytes look like. */
const REFUSALS =
  /(bad file format|unknown command .*|unrecoverable error|unexpected end of file) reading the append only file|AOF loading aborted|truncated file is not the last|invalid AOF manifest/i;

function explain(dir: string, log: string): string {
  if (REFUSALS.test(log)) {
    return [
      `redis-server refuses its append-only file in ${join(dir, 'appendonlydir')}: it is damaged.`,
      'Jobs and their results are in the database and safe. Either repair the file:',
      `  cp -a ${join(dir, 'appendonlydir')} ${join(dir, 'appendonlydir.bak')}`,
      // guard: damaged-log
      `  redis-check-aof --fix ${join(dir, 'appendonlydir', '*.manifest')}`,
      'or move the directory away: the queue is written anew from the database at the next start.',
      log.trim(),
    ].join('\n');
  }
  return `redis-server ended while it started:\n${log.trim()}`;
}

const sizeOf = (file: string): number => ifThere(() => statSync(file).size, 0);

function logSince(dir: string, offset: number): string {
  const log = ifThere(() => readFileSync(join(dir, 'redis.log')), null);
  return log?.subarray(offset).toString('utf8').split('\n').slice(-12).join('\n') ?? 'it wrote no log';
}

/** @returns the process that the directory's file names, if it lives */
function runningServer(dir: string): ProcessIdentity | null {
  const found = fromRecord(readJsonFile(join(dir, PID_FILE)), dir);
  return found && isAlive(found) ? found : null;
}
