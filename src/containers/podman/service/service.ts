/** A private `podman system service` as a child process, kept alive for as long as it is wanted. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { FlashpodsError, messageOf, systemCode } from '../../../errors.ts';
import { once } from '../../../lifecycle/once.ts';
import type { Logger } from '../../../observability/logger.ts';
import { enableControllers } from '../cgroups/cgroup-v2.ts';
import { command } from '../host/command.ts';
import { CGROUP_MOUNT, cgroupVersion } from '../host/probes.ts';
import { PodmanClient } from './http.ts';
import { writeServiceConfig } from './service-config.ts';
import { readServiceRecord, removeServiceRecord, writeServiceRecord } from './service-record.ts';
import { readProcess } from '../container/termination.ts';

const READY_TIMEOUT_MS = 20_000;
const READY_LOOK_MS = 15;
const RESTART_FIRST_MS = 100;
const RESTART_LAST_MS = 5_000;
/** A service that lived this long was healthy: the next restart is quick again. */
const HEALTHY_AFTER_MS = 30_000;
const STOP_GRACE_MS = 3_000;
const KEPT_STDERR = 1_000;

export interface PodmanServiceOptions {
  /** Ours alone; gets the socket, the configuration and a record of the process. Created 0700. */
  readonly runDir: string;
  /** Storage of its own below this directory; default: Podman's. */
  readonly podmanRoot?: string;
  /** It ends by itself when nobody has asked it anything for so long; default: never. */
  readonly idleSeconds?: number;
  readonly logger?: Pick<Logger, 'info' | 'warn'>;
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
  /** Resolves when the service has ended for good: after `stop`, or when a newer owner of `runDir` took over. */
  readonly exited: Promise<void>;
  /** Ends the service and nothing else: containers go on. */
  stop(): Promise<void>;
}

/** @throws FlashpodsError container_error when Podman can't be started */
export async function startPodmanService(options: PodmanServiceOptions): Promise<PodmanService> {
  mkdirSync(options.runDir, { recursive: true, mode: 0o700 });
  const owner = randomUUID();
  await takeOver(options.runDir, owner);
  const scope = await delegatedScope();
  const privileged = process.getuid?.() === 0;
  const config = await writeServiceConfig({
    runDir: options.runDir,
    cgroupManager: privileged || scope !== null ? 'cgroupfs' : null,
    ownStorage: options.podmanRoot !== undefined,
  });
  const service = new Supervised(options, owner, config.environment, scope ?? []);
  await service.begin();
  return {
    socketPath: service.socketPath,
    get pid() {
      return service.pid;
    },
    get restarts() {
      return service.restarts;
    },
    ociRuntime: config.ociRuntime,
    notes: config.notes,
    exited: service.exited,
    stop: service.stop,
  };
}

interface Child {
  readonly pid: number;
  /** Resolves with what it last said on stderr. */
  readonly ended: Promise<string>;
}

class Supervised {
  readonly socketPath: string;
  readonly exited: Promise<void>;
  restarts = 0;
  readonly #options: PodmanServiceOptions;
  readonly #owner: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #prefix: readonly string[];
  readonly #stopping = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  #child: Child | undefined;
  #lifetime: Promise<void> | undefined;

  constructor(
    options: PodmanServiceOptions,
    owner: string,
    environment: Readonly<Record<string, string>>,
    prefix: readonly string[],
  ) {
    this.#options = options;
    this.#owner = owner;
    this.#environment = environment;
    this.#prefix = prefix;
    this.socketPath = join(options.runDir, 'podman.sock');
    this.exited = this.#ended.promise;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  async begin(): Promise<void> {
    const child = await this.#startOnce();
    this.#lifetime = this.#keepAlive(child);
  }

  readonly stop = once(async () => {
    this.#stopping.abort();
    await this.#end();
    await this.#lifetime;
    if (!this.#isReplaced()) {
      rmSync(this.socketPath, { force: true });
      removeServiceRecord(this.#options.runDir);
    }
    this.#ended.resolve();
  });

  /** A newer owner of the run directory ended our service and runs its own. */
  #isReplaced(): boolean {
    const record = readServiceRecord(this.#options.runDir);
    return record !== null && record.owner !== this.#owner;
  }

  async #keepAlive(first: Child): Promise<void> {
    let child: Child | undefined = first;
    let pauseMs = RESTART_FIRST_MS;
    while (!this.#stopping.signal.aborted) {
      const began = performance.now();
      if (child) {
        const said = await child.ended;
        this.#child = undefined;
        if (this.#stopping.signal.aborted) return;
        this.#options.logger?.warn({ said }, 'the Podman service ended');
      }
      if (performance.now() - began > HEALTHY_AFTER_MS) pauseMs = RESTART_FIRST_MS;
      await delay(pauseMs, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
      if (this.#stopping.signal.aborted) return;
      if (this.#isReplaced()) {
        this.#options.logger?.warn({}, 'another process has taken the Podman service over');
        return this.#ended.resolve();
      }
      pauseMs = Math.min(pauseMs * 2, RESTART_LAST_MS);
      this.restarts += 1;
      child = await this.#startOnce().catch((error: unknown) => {
        this.#options.logger?.warn(
          { reason: messageOf(error) },
          'the Podman service could not be started again',
        );
        return undefined;
      });
    }
  }

  /** Starts it and waits until it answers. */
  async #startOnce(): Promise<Child> {
    const { runDir, podmanRoot, idleSeconds = 0 } = this.#options;
    // The socket of a dead service accepts nothing, but keeps the next from being bound.
    rmSync(this.socketPath, { force: true });
    const child = launch(this.#prefix, this.#environment, this.socketPath, idleSeconds, podmanRoot);
    this.#child = child;
    // Before it answers: a successor has to find it also if we die now.
    const record = {
      owner: this.#owner,
      pid: child.pid,
      startTicks: readProcess(child.pid)?.startTicks ?? '',
      delegatedCgroup: null,
    };
    writeServiceRecord(runDir, record);
    const client = new PodmanClient(this.socketPath);
    let ended = false;
    void child.ended.then(() => (ended = true));
    try {
      const deadline = performance.now() + READY_TIMEOUT_MS;
      for (;;) {
        this.#stopping.signal.throwIfAborted();
        if (ended) throw new Error((await child.ended) || 'it ended at once');
        if (performance.now() > deadline) throw new Error(`not ready within ${READY_TIMEOUT_MS} ms`);
        if (existsSync(this.socketPath) && (await answers(client))) break;
        await delay(READY_LOOK_MS);
      }
      if (this.#prefix.length > 0)
        writeServiceRecord(runDir, { ...record, delegatedCgroup: divideScope(child.pid) });
      return child;
    } catch (error) {
      await this.#end();
      throw new FlashpodsError(
        'container_error',
        `podman system service did not start: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    } finally {
      client.close();
    }
  }

  async #end(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    await endProcess(child.pid, child.ended);
    this.#child = undefined;
  }
}

function launch(
  prefix: readonly string[],
  environment: Readonly<Record<string, string>>,
  socketPath: string,
  idleSeconds: number,
  podmanRoot?: string,
): Child {
  const storage = podmanRoot
    ? [
        '--root',
        join(podmanRoot, 'storage'),
        '--runroot',
        join(podmanRoot, 'run'),
        '--tmpdir',
        join(podmanRoot, 'tmp'),
      ]
    : [];
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
  const ended = subprocess.then(
    ({ failed, shortMessage }) => said.trim() || (failed ? (shortMessage ?? 'it failed') : ''),
  );
  if (subprocess.pid === undefined) throw new Error('podman could not be executed; is it installed?');
  return { pid: subprocess.pid, ended };
}

async function answers(client: PodmanClient): Promise<boolean> {
  try {
    await client.call('GET', '/_ping', { timeoutMs: 2_000 });
    return true;
  } catch {
    return false; // not yet; the deadline decides
  }
}

/** Ends the service of a worker that was killed: it would go on for ever, and nobody else knows of it. */
async function takeOver(runDir: string, owner: string): Promise<void> {
  const record = readServiceRecord(runDir);
  if (!record) return;
  // First the claim: whoever still supervises that service must not start it again. Its pid stays on record.
  writeServiceRecord(runDir, { ...record, owner });
  if (readProcess(record.pid)?.startTicks !== record.startTicks) return;
  const gone = (async () => {
    while (readProcess(record.pid)?.startTicks === record.startTicks) await delay(READY_LOOK_MS);
  })();
  await endProcess(record.pid, gone);
}

async function endProcess(pid: number, gone: PromiseLike<unknown>): Promise<void> {
  send(pid, 'SIGTERM');
  const patience = new AbortController();
  const late = delay(STOP_GRACE_MS, 'late' as const, { signal: patience.signal }).catch(() => undefined);
  if ((await Promise.race([gone, late])) === 'late') send(pid, 'SIGKILL');
  patience.abort();
  await gone;
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
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
