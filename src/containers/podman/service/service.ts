/** A private `podman system service` as a child process, kept alive for as long as it is wanted. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { FlashpodsError, messageOf } from '../../../errors.ts';
import { Keeper } from '../../../lifecycle/keeper.ts';
import { once } from '../../../lifecycle/once.ts';
import {
  fromRecord,
  identify,
  isAlive,
  type ProcessIdentity,
  sendSignal,
  toRecord,
} from '../../../lifecycle/process-identity.ts';
import type { Logger } from '../../../observability/logger.ts';
import { pause } from '../../../timing/bell.ts';
import { within } from '../../../timing/within.ts';
import { enableControllers } from '../cgroups/cgroup-v2.ts';
import { command } from '../host/command.ts';
import { CGROUP_MOUNT, cgroupVersion } from '../host/probes.ts';
import { PodmanClient } from './http.ts';
import { writeServiceConfig } from './service-config.ts';
import { readServiceRecord, removeServiceRecord, writeServiceRecord } from './service-record.ts';

const READY_TIMEOUT_MS = 20_000;
const READY_LOOK_MS = 15;
const BACKOFF = { firstMs: 100, longestMs: 5_000 };
const STOP_GRACE_MS = 3_000;
const KEPT_STDERR = 1_000;
const LATE = Symbol('late');
const SILENT = { error: (): void => undefined };

export interface PodmanServiceOptions {
  /** Ours alone; gets the socket, the configuration and a record of the process. Created 0700. */
  readonly runDir: string;
  /** Storage of its own below this directory; default: Podman's. */
  readonly podmanRoot?: string;
  /** It ends by itself when nobody has asked it anything for this time; default: never. */
  readonly idleSeconds?: number;
  readonly logger?: Pick<Logger, 'error'>;
}

export interface PodmanService {
  readonly socketPath: string;
  /** Of the service as it runs now; null between a death and the restart. */
  readonly pid: number | null;
  /** How often it had to be started again. */
  readonly restarts: number;
  readonly ociRuntime: string;
  /** What was tried on this host, for `doctor`. */
  readonly notes: readonly string[];
  /** Resolves when the service has ended for good: after `stop`, or when a newer holder of `runDir` took over. */
  readonly exited: Promise<void>;
  /** Ends the service and nothing else: containers go on. */
  stop(): Promise<void>;
}

/** @throws FlashpodsError container_error when Podman can't be started */
export async function startPodmanService(options: PodmanServiceOptions): Promise<PodmanService> {
  const { runDir, logger } = options;
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const holder = randomUUID();
  await takeOver(runDir, holder);
  const scope = await delegatedScope();
  const privileged = process.getuid?.() === 0;
  const config = await writeServiceConfig({
    runDir,
    cgroupManager: privileged || scope !== null ? 'cgroupfs' : null,
    ownStorage: options.podmanRoot !== undefined,
  });
  const socketPath = join(runDir, 'podman.sock');
  const isReplaced = (): boolean => (readServiceRecord(runDir)?.holder ?? holder) !== holder;
  const keeper = new Keeper({
    name: 'podman system service',
    start: async (signal) => {
      if (isReplaced()) throw new Replaced();
      return startOnce({ options, holder, socketPath, prefix: scope ?? [], env: config.environment }, signal);
    },
    isFinal: (how) => how instanceof Replaced,
    backoff: BACKOFF,
    logger: logger ?? SILENT,
  });
  await keeper.start();
  const ended = Promise.withResolvers<void>();
  void keeper.givenUp.then(() => ended.resolve());
  return {
    socketPath,
    get pid() {
      return keeper.current?.pid ?? null;
    },
    get restarts() {
      return keeper.restarts;
    },
    ociRuntime: config.ociRuntime,
    notes: config.notes,
    exited: ended.promise,
    stop: once(async () => {
      await keeper.stop();
      if (!isReplaced()) {
        rmSync(socketPath, { force: true });
        removeServiceRecord(runDir);
      }
      ended.resolve();
    }),
  };
}

/** A newer holder of the run directory has ended our service and runs its own. */
class Replaced extends Error {
  override readonly name = 'Replaced';

  constructor() {
    super('another process has taken the Podman service over');
  }
}

interface Start {
  readonly options: PodmanServiceOptions;
  readonly holder: string;
  readonly socketPath: string;
  readonly prefix: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

interface Service {
  readonly pid: number;
  /** Resolves with what it last said on stderr. */
  readonly exited: Promise<string>;
  stop(): Promise<void>;
}

/** Starts it and waits until it answers. */
async function startOnce(
  { options, holder, socketPath, prefix, env }: Start,
  signal: AbortSignal,
): Promise<Service> {
  const { runDir, podmanRoot, idleSeconds = 0 } = options;
  // The socket of a dead service accepts nothing, but keeps the next from being bound.
  rmSync(socketPath, { force: true });
  const service = launch(prefix, env, socketPath, idleSeconds, podmanRoot);
  // Before it answers: a successor has to find it also if we die now.
  const process = toRecord(identify(service.pid) ?? { pid: service.pid, startTicks: '' }, runDir);
  const record = { ...process, holder, delegatedCgroup: null };
  writeServiceRecord(runDir, record);
  const client = new PodmanClient(socketPath);
  let ended = false;
  void service.exited.then(() => (ended = true));
  try {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      signal.throwIfAborted();
      if (ended) throw new Error((await service.exited) || 'it ended at once');
      if (performance.now() > deadline) throw new Error(`not ready within ${READY_TIMEOUT_MS} ms`);
      if (existsSync(socketPath) && (await client.answers(2_000))) break;
      await pause(READY_LOOK_MS, signal);
    }
    if (prefix.length > 0)
      writeServiceRecord(runDir, { ...record, delegatedCgroup: divideScope(service.pid) });
    return service;
  } catch (cause) {
    await service.stop();
    const message = `podman system service did not start: ${messageOf(cause)}`;
    throw new FlashpodsError('container_error', message, { cause });
  } finally {
    client.close();
  }
}

function launch(
  prefix: readonly string[],
  environment: Readonly<Record<string, string>>,
  socketPath: string,
  idleSeconds: number,
  podmanRoot?: string,
): Service {
  const places = { root: 'storage', runroot: 'run', tmpdir: 'tmp' };
  const storage = Object.entries(places).flatMap(([option, name]) =>
    podmanRoot ? [`--${option}`, join(podmanRoot, name)] : [],
  );
  const service = ['system', 'service', `--time=${idleSeconds}`, `unix://${socketPath}`];
  const argv = [...prefix, 'podman', ...storage, ...service];
  const [file = 'podman', ...args] = argv;
  const subprocess = execa(file, args, {
    env: environment,
    // On cgroup v1 conmon drops an empty file named `oom` into its directory when a job is killed for memory.
    cwd: dirname(socketPath),
    // A session of its own: Ctrl-C in the terminal is for us to handle, in order.
    detached: true,
    cleanup: false,
    reject: false,
    buffer: false,
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  });
  let said = '';
  subprocess.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-KEPT_STDERR)));
  const exited = subprocess.then(
    ({ failed, shortMessage }) => said.trim() || (failed ? (shortMessage ?? 'it failed') : ''),
  );
  const { pid } = subprocess;
  if (pid === undefined) throw new Error('podman could not be executed; is it installed?');
  return { pid, exited, stop: once(() => endProcess(identify(pid), exited)) };
}

/** Ends the service of a worker that was killed: it would go on for ever, and nobody else knows of it. */
async function takeOver(runDir: string, holder: string): Promise<void> {
  const record = readServiceRecord(runDir);
  if (!record) return;
  // First the directory: the process that still keeps that service must not start it again. Its pid stays on record.
  writeServiceRecord(runDir, { ...record, holder });
  const left = fromRecord(record, runDir);
  if (!left) return;
  await endProcess(
    left,
    (async () => {
      while (isAlive(left)) await pause(READY_LOOK_MS);
    })(),
  );
}

async function endProcess(service: ProcessIdentity | null, gone: Promise<unknown>): Promise<void> {
  if (service) sendSignal(service, 'SIGTERM');
  if ((await within(gone, STOP_GRACE_MS, LATE)) === LATE && service) sendSignal(service, 'SIGKILL');
  await gone;
}

/**
 * An unprivileged user may only divide a cgroup that systemd delegated. A scope with `Delegate` is one, and
 * `systemd-run --scope` becomes the program that it runs.
 * @returns the command to put in front of Podman, or null where there is nothing of the kind
 */
async function delegatedScope(): Promise<readonly string[] | null> {
  if (process.getuid?.() === 0 || cgroupVersion() === 1) return null;
  const prefix = ['systemd-run', '--user', '--scope', '--quiet', '--collect', '-p', 'Delegate=yes'];
  try {
    const [file = '', ...args] = prefix;
    await command(file, ...args, 'true');
    return prefix;
  } catch {
    return null; // no systemd, or no session of this user
  }
}

/**
 * Puts the service into a cgroup of its own below its scope: a cgroup with processes can't pass controllers on.
 * @returns the scope's path from the root of the hierarchy
 */
function divideScope(pid: number): string | null {
  const scope = /^0::(.+)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1];
  if (scope === undefined) return null;
  const own = join(CGROUP_MOUNT, scope, 'service');
  mkdirSync(own, { recursive: true });
  for (const each of readFileSync(join(CGROUP_MOUNT, scope, 'cgroup.procs'), 'utf8')
    .split('\n')
    .filter(Boolean))
    writeFileSync(join(own, 'cgroup.procs'), each, { flag: 'r+' });
  enableControllers(join(CGROUP_MOUNT, scope));
  return scope;
}
