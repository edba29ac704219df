/**
 * `rsync --daemon` as a child, with one module `uploads` that nobody can list. Who connects as a user of
 * {@link RsyncAccess} finds the directory of that upload and nothing else: as root rsync is locked into it and has
 * given its privileges up, else it makes symlinks harmless.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../../errors.ts';
import { ifThere } from '../../files/if-missing.ts';
import { readJsonFile, writeJsonFile } from '../../files/json-file.ts';
import { isPlaceOf, placeOf } from '../../files/place.ts';
import { writeWholeSync } from '../../files/write-whole.ts';
import { asItIs, type Launch } from '../../lifecycle/launch.ts';
import { once } from '../../lifecycle/once.ts';
import { identify, isAlive, type ProcessIdentity } from '../../lifecycle/process-identity.ts';
import type { Logger } from '../../observability/logger.ts';
import { endAll, family } from './processes.ts';

const MAX_CONNECTIONS = 10;
const TIMEOUT_SECONDS = 300;
const READY_MS = 10_000;
/** rsync writes to a file only, not into a pipe of Node. A line or four a connection, without passwords. */
const LOG = 'rsyncd.log';
const LOG_MAX_BYTES = 10 * 1024 * 1024;
const LOG_LOOK_MS = 60_000;
/**
 * What a client may ask of the daemon; every other option is refused, those of later versions too. None of these names
 * another directory, or makes more than what is sent: `--backup-dir`, `--temp-dir`, `--partial-dir`, `--link-dest` and
 * the like would be looked up by the daemon, and extended attributes are in no measurement.
 */
const ALLOWED_OPTIONS = [
  ...['archive', 'recursive', 'links', 'perms', 'times', 'group', 'owner', 'devices', 'specials', 'dirs'],
  ...['hard-links', 'sparse', 'executability', 'one-file-system', 'relative', 'implied-dirs', 'numeric-ids'],
  ...['omit-dir-times', 'omit-link-times', 'chmod', 'prune-empty-dirs', 'mkpath'],
  ...['checksum', 'checksum-choice', 'size-only', 'ignore-times', 'modify-window', 'update', 'existing'],
  ...[
    'ignore-existing',
    'max-size',
    'min-size',
    'whole-file',
    'inplace',
    'append',
    'append-verify',
    'partial',
  ],
  ...['delete', 'delete-*', 'del', 'force', 'ignore-errors', 'max-delete', 'ignore-missing-args'],
  ...['compress', 'compress-*', 'skip-compress', 'new-compress', 'old-compress', 'bwlimit', 'timeout'],
  ...['verbose', 'quiet', 'stats', 'progress', 'info', 'human-readable', 'itemize-changes', 'log-format'],
];

export interface RsyncDaemonOptions {
  /** Shared with {@link RsyncAccess}; made if it is not there. */
  readonly directory: string;
  readonly host: string;
  /** 0, or one that is taken: a free one. */
  readonly port: number;
  /** Addresses and networks that may connect, as rsyncd.conf(5) has them. */
  readonly hostsAllow: string;
  /** Whom files are given to, if this process may; null: they stay ours. */
  readonly owner: { readonly uid: number; readonly gid: number } | null;
  /** How it is started; as it is by default. */
  readonly launch?: Launch;
  readonly logger: Logger;
}

export interface RsyncDaemon {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when it has ended, for any reason. */
  readonly exited: Promise<void>;
  /** Ends it and all of its transfers. */
  stop(): Promise<void>;
}

interface DaemonRecord {
  readonly daemon: ProcessIdentity;
  readonly keeper: ProcessIdentity;
  readonly address: string;
  /** `placeOf` the directory. */
  readonly place: string;
}

/** `HOST:PORT` of the daemon that a living process keeps for this directory, or is starting again. */
export const daemonAddress = (directory: string): string | null => {
  const record = readRecord(directory);
  return record !== null && isAlive(record.keeper) ? record.address : null;
};

/** @throws Error when there is no rsync, or it does not start */
export async function startRsyncDaemon(options: RsyncDaemonOptions): Promise<RsyncDaemon> {
  const { directory, host, logger } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  await endLeftover(directory, logger);
  const port = await choosePort(host, options.port, logger);
  const config = join(directory, 'rsyncd.conf');
  const log = join(directory, LOG);
  writeWholeSync(log, '');
  // New files each, under new names: a process with fewer rights than this one may write in the directory.
  writeWholeSync(join(directory, 'gate'), readFileSync(new URL('./gate.sh', import.meta.url)));
  if (!existsSync(join(directory, 'secrets'))) writeWholeSync(join(directory, 'secrets'), '');
  writeWholeSync(config, configuration(options, port));

  const [file, words] = (options.launch ?? asItIs)('rsync', [
    '--daemon',
    '--no-detach',
    `--config=${config}`,
  ]);
  const child = spawn(file, words, {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
    // A process group of its own: Ctrl-C reaches its keeper alone, which stops it in order.
    detached: true,
  });
  pass(child.stderr, logger);
  const lookAtLog = setInterval(() => emptyLongLog(log), LOG_LOOK_MS).unref();
  let ended = false;
  const exited = new Promise<void>((resolve, reject) => {
    child.once('error', (cause) => reject(new Error('rsync could not be started', { cause })));
    child.once('exit', () => {
      clearInterval(lookAtLog);
      ended = true;
      resolve();
    });
  });
  const id = child.pid === undefined ? null : identify(child.pid);
  const stop = once(async () => {
    if (id) await end(id);
    await exited;
  });
  try {
    await Promise.race([exited, answers(host, port, () => ended)]);
    const keeper = identify(process.pid);
    if (ended || !id || !keeper) throw new Error(`rsync --daemon ended at its start; ${log} says why`);
    const address = `${host}:${port}`;
    writeJsonFile(join(directory, 'daemon.json'), { daemon: id, keeper, address, place: placeOf(directory) });
    return { host, port, pid: id.pid, exited, stop };
  } catch (error) {
    if (id) await stop();
    throw error;
  }
}

/** No link is followed: see above. */
function emptyLongLog(log: string): void {
  const handle = ifThere(() => openSync(log, constants.O_WRONLY | constants.O_NOFOLLOW), null, 'ELOOP');
  if (handle === null) return;
  try {
    if (fstatSync(handle).size > LOG_MAX_BYTES) ftruncateSync(handle);
  } finally {
    closeSync(handle);
  }
}

function configuration({ directory, host, hostsAllow, owner }: RsyncDaemonOptions, port: number): string {
  const isRoot = process.getuid?.() === 0;
  const ids = isRoot && owner ? owner : null;
  const gate = [join(directory, 'gate'), directory, ids ? `${ids.uid}:${ids.gid}` : '-'];
  return `# Made at every start of the daemon.
address = ${host.replaceAll(/[[\]]/g, '')}
port = ${port}
log file = ${join(directory, LOG)}
reverse lookup = no

[uploads]
path = ${directory}/trees/%RSYNC_USER_NAME%
list = no
read only = no
write only = yes
auth users = *
secrets file = ${directory}/secrets
strict modes = yes
hosts allow = ${hostsAllow}
max connections = ${MAX_CONNECTIONS}
lock file = ${directory}/lock
timeout = ${TIMEOUT_SECONDS}
max verbosity = 1
refuse options = * ${ALLOWED_OPTIONS.map((name) => `!${name}`).join(' ')}
pre-xfer exec = /bin/sh ${gate.map(quote).join(' ')}
${isRoot ? 'use chroot = yes\nmunge symlinks = no' : 'use chroot = no\nmunge symlinks = yes'}
${ids ? `uid = ${ids.uid}\ngid = ${ids.gid}` : ''}
`;
}

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** The given port if it is free, else one that is. */
async function choosePort(host: string, wanted: number, logger: Logger): Promise<number> {
  const tryPort = (port: number): Promise<number> =>
    new Promise((resolve, reject) => {
      const probe = createServer();
      probe.once('error', reject);
      probe.listen(port, host.replaceAll(/[[\]]/g, ''), () => {
        const address = probe.address();
        probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : port));
      });
    });
  try {
    return await tryPort(wanted);
  } catch (error) {
    if (systemCode(error) !== 'EADDRINUSE') throw error;
    const port = await tryPort(0);
    logger.warn({ host, wanted, port }, 'the port for rsync is taken; using another');
    return port;
  }
}

/** Resolves when the daemon greets. */
async function answers(host: string, port: number, isOver: () => boolean): Promise<void> {
  const deadline = performance.now() + READY_MS;
  while (!isOver()) {
    if (await greets(host, port)) return;
    if (performance.now() > deadline) throw new Error(`rsync --daemon does not answer at ${host}:${port}`);
    await delay(20);
  }
}

const greets = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: host.replaceAll(/[[\]]/g, ''), port, timeout: 1_000 });
    const done = (yes: boolean): void => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('data', (bytes: Buffer) => done(bytes.toString('latin1').startsWith('@RSYNCD:')));
    socket
      .once('error', () => done(false))
      .once('timeout', () => done(false))
      .once('close', () => done(false));
  });

/** What programs of the gate complain about. */
function pass(stream: Readable, logger: Logger): void {
  createInterface({ input: stream }).on('line', (line) => logger.warn({ line }, 'rsync daemon'));
}

/** Ends the daemon and its connections, of which it makes no more while they are listed. */
async function end(daemon: ProcessIdentity): Promise<void> {
  if (!isAlive(daemon)) return;
  process.kill(daemon.pid, 'SIGSTOP');
  const all = family(daemon);
  process.kill(daemon.pid, 'SIGCONT');
  await endAll(() => all.filter(isAlive));
}

/** A daemon whose keeper was killed goes on without one; its port and its connections are ours now. */
async function endLeftover(directory: string, logger: Logger): Promise<void> {
  const record = readRecord(directory);
  if (!record || !isAlive(record.daemon)) return;
  if (isAlive(record.keeper) && record.keeper.pid !== process.pid) {
    throw new Error(`process ${record.keeper.pid} keeps the rsync daemon of ${directory}`);
  }
  logger.info({ pid: record.daemon.pid }, 'ending the rsync daemon of a process that was killed');
  await end(record.daemon);
}

function readRecord(directory: string): DaemonRecord | null {
  const record = readJsonFile(join(directory, 'daemon.json')) as Partial<DaemonRecord> | null;
  if (!record?.daemon || !record.keeper) return null;
  // That of the original, where this directory is a copy.
  return isPlaceOf(record.place, directory) ? (record as DaemonRecord) : null;
}
