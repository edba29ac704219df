/**
 * What an `up` that is root starts to listen to strangers (the API, its Redis, the rsync daemon) runs under an id without
 * rights, and sees of the data directory what it needs. Everything that they make is root's on the disk, as what the
 * worker makes: see confine.pl.
 */
import { spawn } from 'node:child_process';
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, realpathSync } from 'node:fs';
import { basename, delimiter, dirname, join, sep } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Config } from '../src/config.ts';
import { hostDirectory } from '../src/default-directories.ts';
import { messageOf } from '../src/errors.ts';
import { ifThere } from '../src/files/if-missing.ts';
import { asItIs, type Launch } from '../src/lifecycle/launch.ts';
import type { Logger } from '../src/observability/logger.ts';
import { podmanRunPath, rsyncPath } from './data-directory.ts';

const LAUNCHER = fileURLToPath(new URL('./confine.pl', import.meta.url));
/** Longer than a machine that is busy with jobs takes: who is late would run as root. */
const TRIAL_MS = 120_000;
/** Ports below need root, in Linux as it comes. */
const FIRST_FREE_PORT = 1024;

export interface Confinement {
  /** Of the API and the rsync daemon. */
  readonly api: Launch;
  readonly redis: Launch;
  /** The settings with paths as those processes see them. */
  readonly config: Config;
  /** Whether it holds. */
  readonly isReal: boolean;
  end(this: void): void;
}

/**
 * Makes a confinement where it can be made. The directories of `makePrivateDirectories` must be there. Where it can't
 * be, everything runs with the rights of this process, and the log says why if they are root's.
 */
export async function confine(config: Config, logger: Logger): Promise<Confinement> {
  const none = { api: asItIs, redis: asItIs, config, isReal: false, end: () => undefined };
  if (process.getuid?.() !== 0 || config.apiAsRoot === 'true') return none;
  try {
    return await begin(config);
  } catch (error) {
    logger.warn(
      { why: messageOf(error) },
      'the API runs as root: it can not be given an id of its own here (FLASHPODS_API_AS_ROOT=true takes this warning away)',
    );
    return none;
  }
}

async function begin(given: Config): Promise<Confinement> {
  for (const address of [given.listenAddr, given.rsyncAddr]) {
    const port = Number(address.slice(address.lastIndexOf(':') + 1));
    if (port > 0 && port < FIRST_FREE_PORT) throw new Error(`${address} is a port that only root may have`);
  }
  const config = withRealPaths(given);
  const { dataDir, runPath, logsPath, artifactsPath, uploadsPath } = config;
  const redis = join(dataDir, 'redis');
  const hidden = {
    hosts: dirname(hostDirectory(config)),
    ballast: join(dataDir, 'ballast'),
    podman: podmanRunPath(config),
  };
  for (const directory of [...Object.values(hidden), redis, rsyncPath(config)])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  // Those that lie in others are named as well: so they can't be moved away, and what is put in their place be taken for them.
  const shared = [
    dataDir,
    runPath,
    rsyncPath(config),
    logsPath,
    artifactsPath,
    uploadsPath,
    databasePlace(config),
  ];
  const view = [
    ...shared.flatMap((path) => ['share', path]),
    ...programPaths().flatMap((path) => ['read', path]),
    ...settingPaths(config).flatMap((path) => ['read', path]),
    ...[...Object.values(hidden), redis].flatMap((path) => ['hide', path]),
  ];
  const viewOfRedis = [redis, runPath].flatMap((path) => ['share', path]);
  viewOfRedis.push(...[hidden.podman, rsyncPath(config)].flatMap((path) => ['hide', path]));

  const launch =
    (...words: string[]): Launch =>
    (program, args) => {
      const found = onPath(program);
      // What is not there is told by the one who starts it.
      if (found === null) return [program, args];
      const ids = [`${config.idBase - 1}`, `${config.idBase}`];
      return ['perl', [LAUNCHER, ...ids, ...words, '--', found, ...args]];
    };
  const namespace = await tryIt(launch(...view), shared);
  const join_ = ['join', `/proc/${process.pid}/fd/${namespace}`];
  return {
    api: launch(...view, ...join_),
    redis: launch(...viewOfRedis, ...join_),
    config,
    isReal: true,
    end: () => closeSync(namespace),
  };
}

/**
 * Runs Node once as the API will be, which looks whether it can do its work there.
 * @returns a handle of its user namespace, which lives as long as the handle: processes in one may end each other
 * @throws Error that says why it can't
 */
async function tryIt(launch: Launch, shared: readonly string[]): Promise<number> {
  const look =
    'const fs = require("node:fs"); const [main, ...shared] = process.argv.slice(1); fs.accessSync(main, fs.constants.R_OK);' +
    'for (const path of shared) { const probe = `${path}/probe-${process.pid}`; fs.rmSync(probe, { force: true });' +
    'fs.closeSync(fs.openSync(probe, "wx", 0o600)); fs.rmSync(probe); } console.log("well"); process.stdin.resume();';
  const [file, args] = launch(process.execPath, ['-e', look, realpathSync(process.argv[1] ?? ''), ...shared]);
  const child = spawn(file, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: TRIAL_MS,
    killSignal: 'SIGKILL',
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-1_000)));
  child.stdin.on('error', () => undefined); // its end says why
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(messageOf(error)));
    child.once('close', (code, signal) => resolve(said.trim() || `it ended with ${signal ?? code}`));
  });
  const well = new Promise<null>((resolve) =>
    createInterface({ input: child.stdout }).on('line', (line) => line === 'well' && resolve(null)),
  );
  const why = await Promise.race([well, ended]);
  if (why !== null) throw new Error(why);
  try {
    return openSync(`/proc/${child.pid}/ns/user`, 'r');
  } finally {
    child.stdin.end();
    await ended;
  }
}

/** Mounts have no links on their way. */
function withRealPaths(config: Config): Config {
  const real = (path: string): string => realpathSync(path);
  return {
    ...config,
    dataDir: real(config.dataDir),
    runPath: real(config.runPath),
    logsPath: real(config.logsPath),
    artifactsPath: real(config.artifactsPath),
    uploadsPath: real(config.uploadsPath),
    dbPath: join(real(dirname(config.dbPath)), basename(config.dbPath)),
    tokenFile: ifThere(() => real(config.tokenFile), config.tokenFile),
  };
}

/** @throws Error when something else lies beside the database, which would be shared as well */
function databasePlace({ dataDir, dbPath }: Config): string {
  const directory = dirname(dbPath);
  if (directory === dataDir) return directory;
  const other = readdirSync(directory).find(
    (name) => !name.startsWith(basename(dbPath)) && name !== 'ballast',
  );
  if (other !== undefined)
    throw new Error(`the database has no directory of its own: ${other} lies beside it in ${directory}`);
  return directory;
}

/** Node, this program and its packages. */
function programPaths(): string[] {
  const here = realpathSync(join(import.meta.dirname, '..'));
  const packages = `${sep}node_modules${sep}`;
  const installed = here.indexOf(packages);
  const root =
    installed !== -1
      ? here.slice(0, installed + packages.length - 1)
      : basename(here) === 'dist'
        ? dirname(here)
        : here;
  const linked = ifThere(() => realpathSync(join(root, 'node_modules')), root, 'ENOTDIR');
  return [root, linked, realpathSync(process.execPath)].filter(
    (path, index, all) => !all.some((other, at) => at < index && isBelow(path, other)),
  );
}

/** What settings name outside of the data directory. */
function settingPaths({ dataDir, tokenFile, apiToken, redisUrl }: Config): string[] {
  const socket = /^unix:\/\/([^?]+)/.exec(redisUrl ?? '')?.[1];
  const paths = apiToken === undefined && !isBelow(tokenFile, dataDir) ? [tokenFile] : [];
  // A Redis that starts again makes its socket anew.
  if (socket !== undefined) paths.push(realpathSync(dirname(socket)));
  return paths;
}

const isBelow = (path: string, other: string): boolean => path === other || path.startsWith(`${other}${sep}`);

function onPath(program: string): string | null {
  if (program.includes(sep)) return program;
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, program);
    const found = directory.startsWith(sep)
      ? ifThere(() => lstatSync(path), null, 'ENOTDIR', 'EACCES')
      : null;
    if (found !== null) return path;
  }
  return null;
}
