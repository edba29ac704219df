/** {@link ContainerRuntime} for Podman, through the HTTP API of `podman system service`. */
import { mkdirSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { FlashpodsError, messageOf, systemCode } from '../../errors.ts';
import { once } from '../../lifecycle/once.ts';
import type { Logger } from '../../observability/logger.ts';
import type {
  ContainerRuntime,
  ContainerSpec,
  ContainerState,
  ProvisionRequest,
  RuntimeFacts,
  Verdict,
} from '../runtime.ts';
import type { Cgroups } from './cgroups/cgroups.ts';
import { type ContainerHost, createBody } from './container/create-spec.ts';
import { LABELS } from './container/labels.ts';
import type { JobDisk } from './disks/disk.ts';
import { type Evidence, parseEvidence, verdictOf, withLook } from './sandbox/evidence.ts';
import { ExitWatch } from './container/exit-watch.ts';
import { dropHalfMade, INITIALIZED, isHalfMade, runtimeStatus } from './container/half-made.ts';
import { PodmanApiError, type PodmanClient } from './service/http.ts';
import type { Images } from './images/images.ts';
import { userId, userIdIn } from './container/job-user.ts';
import { loopDevices } from './disks/mounts.ts';
import { writeRunFiles } from './sandbox/run-files.ts';
import { type Sandboxes, assertSandboxName, readJson, writeJson } from './sandbox/sandbox.ts';
import { createProblem, startProblem } from './container/start-problem.ts';
import { inspectedState, listedStates } from './container/state.ts';
import { beginTermination } from './container/termination.ts';
import { layWork, planWork, removeWork } from './sandbox/work.ts';

const CREATE_TIMEOUT_MS = 60_000;
const START_TIMEOUT_MS = 120_000;
/** Between two looks for an exit code, which conmon writes some milliseconds after the last process is gone. */
const SETTLE_FIRST_MS = 2;
const SETTLE_LAST_MS = 250;
/** Nothing runs and Podman still says `running`: its monitor was killed, so no exit code will ever come. */
const MONITOR_LOST_AFTER_MS = 10_000;
/** libpod's own polling, where no cgroup can be watched. */
const WAIT_INTERVAL = '100ms';
const KILL_EVERY_MS = 5;
const KILL_DEADLINE_MS = 30_000;
const REMOVE_TRIES = 10;
const REMOVE_EVERY_MS = 100;
const CGROUP_REMOVE_TRIES = 100;
const TERMINATION_LOOK_MS = 20;

export interface RuntimeParts {
  readonly facts: RuntimeFacts;
  readonly host: ContainerHost;
  readonly podman: PodmanClient;
  readonly images: Images;
  readonly sandboxes: Sandboxes;
  readonly cgroups: Cgroups;
  /** Takes what is to happen when a watched disk is over its limit. */
  readonly disk: (onExceeded: (name: string) => void) => JobDisk;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

export class HostRuntime implements ContainerRuntime {
  readonly facts: RuntimeFacts;
  readonly #parts: RuntimeParts;
  readonly #disk: JobDisk;
  readonly #exits = new ExitWatch();
  /** Disks that are being made, so that making them goes on beside the container's creation. */
  readonly #disks = new Map<string, Promise<void>>();
  /** Created by this process and not started yet: their start needs no look before it. */
  readonly #fresh = new Set<string>();
  /** Containers that began without Podman's having seen it. */
  readonly #unseen = new Set<string>();
  /** Containers that this process knows to be gone: `dispose` need not ask again. */
  readonly #removed = new Set<string>();
  /** Ids of the users that images name, by digest. */
  readonly #namedUsers = new Map<string, number>();
  readonly #evidence = new Map<string, Evidence>();
  readonly #terminations = new Map<string, NodeJS.Timeout>();

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
    this.facts = parts.facts;
    this.#disk = parts.disk((name) => void this.#overfull(name));
  }

  async ping(timeoutMs: number): Promise<void> {
    await this.#parts.podman.call('GET', '/_ping', { timeoutMs });
  }

  async hasImage(image: string): Promise<boolean> {
    return (await this.#localImage(image)) !== null;
  }

  async ensureImage(image: string, onProgress: (line: string) => void, signal: AbortSignal): Promise<string> {
    return await this.#parts.images.ensure(image, onProgress, signal);
  }

  async provision(request: ProvisionRequest): Promise<void> {
    const { sandboxes, cgroups } = this.#parts;
    const paths = sandboxes.paths(request.name);
    try {
      mkdirSync(paths.directory, { recursive: true, mode: 0o700 });
      mkdirSync(paths.emptyWork, { recursive: true });
      writeJson(paths.request, { ...request, cgroupParent: cgroups.parent(request.name) });
      cgroups.make(request);
    } catch (error) {
      throw new FlashpodsError(
        'container_start_failed',
        `could not make the job's sandbox: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
    void this.#diskReady(request.name, request).catch(() => undefined); // `start` awaits it
  }

  async create(spec: ContainerSpec): Promise<string> {
    const { host, podman, images, sandboxes, cgroups } = this.#parts;
    const image = images.remembered(spec.image) ?? (await this.#localImage(spec.image));
    if (image === null)
      throw new FlashpodsError('container_start_failed', `the image ${spec.image} is not on this host`);
    const paths = sandboxes.paths(spec.name);
    if (spec.workDir !== null && !spec.workReadOnly) planWork(paths, spec.workDir);
    writeRunFiles(paths, spec.runFiles);
    const make = async (filesOwner: number): Promise<string> => {
      const context = { host, paths, cgroupParent: cgroups.parent(spec.name), filesOwner };
      const body = createBody(spec, image, context);
      const post = () => podman.call('POST', '/containers/create', { body, timeoutMs: CREATE_TIMEOUT_MS });
      const answer = await post().catch(async (error: unknown) => {
        if (!(await this.#isNameOnly(spec.name, error))) throw error;
        await podman.call('DELETE', `/containers/${spec.name}`, { query: { force: true } });
        return post();
      });
      return (answer.body as { Id: string }).Id;
    };
    const { user, digest } = images.userOf(image);
    const owner = spec.workReadOnly ? 0 : (userId(user) ?? this.#namedUsers.get(digest));
    try {
      let id = await make(owner ?? 0);
      if (owner === undefined) {
        // Only a container of the image shows its /etc/passwd; the second has the right owner from the beginning.
        const named = await this.#userIdByName(spec.name, user);
        if (named !== 0) {
          await podman.call('DELETE', `/containers/${spec.name}`, { query: { force: true } });
          id = await make(named);
        }
        this.#namedUsers.set(digest, named);
      }
      this.#removed.delete(spec.name);
      this.#fresh.add(spec.name);
      return id;
    } catch (error) {
      if (!(error instanceof PodmanApiError)) throw error;
      images.forget(spec.image); // it may have been removed behind our back
      // Made by an earlier call whose answer was lost.
      const existing = await this.inspect(spec.name);
      if (existing?.jobId === spec.jobId && existing.epoch === spec.epoch) {
        if (owner !== undefined || existing.phase !== 'created') return existing.id;
        // Which of the two it is nobody knows: once more from the beginning.
        await podman.call('DELETE', `/containers/${spec.name}`, { query: { force: true } });
        return await this.create(spec);
      }
      throw new FlashpodsError('container_start_failed', createProblem(error.message, spec.image), {
        cause: error,
      });
    }
  }

  async start(name: string): Promise<void> {
    const ready = this.#diskReady(name).then(() => layWork(this.#parts.sandboxes.paths(name)));
    await ready.catch((error: unknown) => {
      throw new FlashpodsError(
        'container_start_failed',
        `could not make the job's disk: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    });
    const first = this.#fresh.delete(name);
    if (!first && (await this.#wasStarted(name))) return;
    const start = () =>
      this.#parts.podman.call('POST', `/containers/${name}/start`, { timeoutMs: START_TIMEOUT_MS });
    try {
      await start().catch(async (error: unknown) => {
        // guard: half-made
        if (!(error instanceof PodmanApiError && isHalfMade(error.message))) throw error;
        this.#parts.logger.warn({ sandbox: name }, 'Podman died while it made the container; making it anew');
        const { body } = await this.#parts.podman.call('GET', `/containers/${name}/json`);
        const { Id, OCIRuntime } = body as { Id: string; OCIRuntime: string };
        if (!(await dropHalfMade(OCIRuntime, Id))) throw error;
        await start();
      });
    } catch (error) {
      if (!(error instanceof PodmanApiError)) throw error;
      // An earlier attempt, whose answer was lost, may have been going on beside this one.
      if (!first && (await this.inspect(name))?.phase === 'running') return;
      throw new FlashpodsError('container_start_failed', startProblem(error.message), { cause: error });
    }
  }

  async inspect(name: string): Promise<ContainerState | null> {
    assertSandboxName(name);
    try {
      const { body } = await this.#parts.podman.call('GET', `/containers/${name}/json`);
      return (await this.#begunUnseen(body)) ?? inspectedState(body);
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 404) return null;
      throw asContainerError(error);
    }
  }

  /**
   * The state of a container that began without Podman's having seen it; null of any other. Once it has ended Podman
   * is made to look for its exit code, which it only does for a container that it is told to stop.
   */
  async #begunUnseen(body: unknown): Promise<ContainerState | null> {
    const { Id, Name, OCIRuntime, State } = body as {
      Id: string;
      Name: string;
      OCIRuntime: string;
      State: { Status: string };
    };
    if (State.Status !== INITIALIZED) return null;
    const status = await runtimeStatus(OCIRuntime, Id);
    if (status !== 'running' && status !== 'stopped') return null;
    this.#unseen.add(Name);
    if (status === 'stopped')
      await this.#parts.podman.call('POST', `/containers/${Id}/stop`, { query: { timeout: 0 } });
    const { body: now } = await this.#parts.podman.call('GET', `/containers/${Id}/json`);
    const state = inspectedState(now);
    if (state === null || state.phase !== 'created') return state;
    // Between the two it may have been only about to begin; Podman says so itself then.
    return { ...state, phase: 'running' };
  }

  async list(): Promise<readonly ContainerState[]> {
    const { host, podman } = this.#parts;
    const label = [
      `${LABELS.job}=true`,
      `${LABELS.host}=${host.hostName}`,
      `${LABELS.deployment}=${host.deploymentId}`,
    ];
    try {
      const { body } = await podman.call('GET', '/containers/json', {
        query: { all: true, filters: JSON.stringify({ label }) },
      });
      return listedStates(body);
    } catch (error) {
      throw asContainerError(error);
    }
  }

  async waitForExit(name: string, signal: AbortSignal): Promise<ContainerState | null> {
    const { cgroups, sandboxes } = this.#parts;
    const request = sandboxes.readRequest(name);
    if (request) this.#disk.watch(sandboxes.paths(name), request.diskBytes);
    let emptySince: number | null = null;
    let pauseMs = SETTLE_FIRST_MS;
    for (;;) {
      signal.throwIfAborted();
      const probe = cgroups.aliveProbe(name);
      if (probe) {
        await this.#exits.empty(probe, () => this.#look(name), signal);
        // At once: where Podman cleans up by itself, the counters are gone 50 ms later.
        this.#look(name);
      }
      const state = await this.#inspectPatiently(name, signal);
      if (state === null || state.phase === 'exited') {
        this.#record(name, { exitCode: state?.exitCode ?? null });
        return state;
      }
      if (state.phase === 'running' && !probe && cgroups.parent(name) === null)
        await this.#waitThroughApi(name, signal);
      else if (state.phase === 'running') {
        emptySince ??= performance.now();
        if (performance.now() - emptySince > MONITOR_LOST_AFTER_MS) return withoutMonitor(state);
      } else emptySince = null;
      await delay(pauseMs, undefined, { signal });
      pauseMs = Math.min(pauseMs * 1.5, SETTLE_LAST_MS);
    }
  }

  async terminate(name: string): Promise<void> {
    const { cgroups } = this.#parts;
    if (cgroups.parent(name) === null) return await this.#signalThroughApi(name, 'TERM');
    const finish = await beginTermination(() => cgroups.processes(name));
    if (finish()) return;
    clearInterval(this.#terminations.get(name));
    const timer = setInterval(() => {
      if (!finish()) return;
      clearInterval(timer);
      this.#terminations.delete(name);
    }, TERMINATION_LOOK_MS);
    this.#terminations.set(name, timer);
  }

  async kill(name: string): Promise<void> {
    const { cgroups } = this.#parts;
    this.#record(name, { killedByUs: true });
    if (cgroups.parent(name) === null) return await this.#signalThroughApi(name, 'KILL');
    const deadline = performance.now() + KILL_DEADLINE_MS;
    for (;;) {
      const pids = cgroups.processes(name);
      if (pids.length === 0) return;
      if (performance.now() > deadline)
        throw new Error(
          `${name}: ${pids.length} processes do not end on SIGKILL (${pids.slice(0, 5).join(', ')})`,
        );
      // The lowest first: with PID 1 of a namespace the kernel takes all that are in it, forks included.
      if (!cgroups.killAll(name)) for (const pid of pids.toSorted((a, b) => a - b)) killProcess(pid);
      await delay(KILL_EVERY_MS);
    }
  }

  async verdict(name: string): Promise<Verdict> {
    this.#look(name);
    return verdictOf(this.#known(name), this.#parts.sandboxes.readRequest(name));
  }

  spoolPath(name: string): string {
    return this.#parts.sandboxes.paths(name).spool;
  }

  async artifactsPath(name: string): Promise<string> {
    const { sandboxes } = this.#parts;
    if (sandboxes.readRequest(name) !== null) await this.#diskReady(name);
    return sandboxes.paths(name).artifacts;
  }

  async remove(name: string): Promise<void> {
    assertSandboxName(name);
    // Podman takes the container's cgroup with it, and on v1 nothing else counted kills for memory.
    this.#look(name);
    this.#persist(name);
    await this.#removeContainer(name);
    this.#fresh.delete(name);
    this.#removed.add(name);
    if (this.#parts.cgroups.processes(name).length > 0) await this.kill(name);
  }

  async #removeContainer(name: string): Promise<void> {
    const query = { force: true, timeout: 0, v: true };
    for (let tries = 1; ; tries += 1) {
      try {
        return void (await this.#parts.podman.call('DELETE', `/containers/${name}`, { query }));
      } catch (error) {
        if (error instanceof PodmanApiError && error.status === 404) return;
        // The kernel may let go of a mount a moment after the last process has gone.
        const passes = error instanceof PodmanApiError && /device or resource busy/.test(error.message);
        if (!passes || tries === REMOVE_TRIES) throw asContainerError(error);
        await delay(REMOVE_EVERY_MS);
      }
    }
  }

  async dispose(name: string): Promise<void> {
    const { cgroups, sandboxes } = this.#parts;
    const paths = sandboxes.paths(name);
    await this.#disks.get(name)?.catch(() => undefined); // a disk is not taken away under the program that makes it
    if (!this.#removed.has(name)) await this.remove(name);
    clearInterval(this.#terminations.get(name));
    this.#terminations.delete(name);
    await removeWork(paths);
    await this.#disk.remove(paths);
    for (let tries = 0; !cgroups.remove(name); tries += 1) {
      if (tries === CGROUP_REMOVE_TRIES) throw new Error(`${name}: its cgroup is still busy`);
      await delay(KILL_EVERY_MS);
    }
    // Last: as long as the directory is there, `leftovers` names the sandbox.
    rmSync(paths.directory, { recursive: true, force: true });
    this.#removed.delete(name);
    this.#unseen.delete(name);
    this.#disks.delete(name);
    this.#evidence.delete(name);
  }

  async leftovers(): Promise<readonly string[]> {
    const { cgroups, sandboxes } = this.#parts;
    const prefix = `${sandboxes.root}/`;
    const behindLoops = [...loopDevices().keys()].flatMap((file) =>
      file.startsWith(prefix) ? [file.slice(prefix.length).split('/')[0] ?? ''] : [],
    );
    const containers = (await this.list()).map(({ name }) => name);
    const names = [...sandboxes.names(), ...cgroups.names(), ...behindLoops, ...containers];
    return [...new Set(names)].filter((name) => name.startsWith('flashpods-')).sort();
  }

  readonly close = once(async () => {
    for (const timer of this.#terminations.values()) clearInterval(timer);
    this.#exits.close();
    this.#disk.close();
    await Promise.allSettled(this.#disks.values());
    this.#parts.cgroups.close();
    this.#parts.podman.close();
  });

  async #localImage(image: string): Promise<string | null> {
    try {
      return await this.#parts.images.local(image);
    } catch (error) {
      throw asContainerError(error);
    }
  }

  /** Whether Podman died while it created a container: its storage has the name, and no container is known by it. */
  async #isNameOnly(name: string, error: unknown): Promise<boolean> {
    if (!(error instanceof PodmanApiError) || !error.message.includes('already in use')) return false;
    return (await this.inspect(name)) === null;
  }

  async #userIdByName(container: string, user: string): Promise<number> {
    try {
      const query = { path: '/etc/passwd' };
      const passwd = await this.#parts.podman.text('GET', `/containers/${container}/archive`, { query });
      return userIdIn(passwd, user);
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 404) return 0;
      throw error;
    }
  }

  /** The disk of a sandbox, made now if a crash left it unmade. */
  #diskReady(name: string, known?: ProvisionRequest): Promise<void> {
    const current = this.#disks.get(name);
    if (current) return current;
    const { sandboxes } = this.#parts;
    const request = known ?? sandboxes.readRequest(name);
    if (!request) return Promise.reject(new Error(`${name} was never provisioned`));
    const made = this.#disk.make(sandboxes.paths(name), request.diskBytes);
    this.#disks.set(name, made);
    made.catch(() => this.#disks.delete(name)); // the next call tries again
    return made;
  }

  /** @throws FlashpodsError container_start_failed when it can't be started any more */
  async #wasStarted(name: string): Promise<boolean> {
    const state = await this.inspect(name);
    if (state === null) throw new FlashpodsError('container_start_failed', `there is no container ${name}`);
    if (state.phase === 'created') return false;
    // Podman would run the command a second time.
    if (state.phase === 'exited' && state.startedAt === null && !this.#unseen.has(name))
      throw new FlashpodsError('container_start_failed', 'an earlier attempt to start the container failed');
    return true;
  }

  /** Podman may be starting again; the job must not be given up for that. */
  async #inspectPatiently(name: string, signal: AbortSignal): Promise<ContainerState | null> {
    let pauseMs = 50;
    for (;;) {
      try {
        return await this.inspect(name);
      } catch (error) {
        signal.throwIfAborted();
        this.#parts.logger.warn({ sandbox: name, reason: messageOf(error) }, 'Podman does not answer');
        await delay(pauseMs, undefined, { signal });
        pauseMs = Math.min(pauseMs * 2, 2_000);
      }
    }
  }

  async #waitThroughApi(name: string, signal: AbortSignal): Promise<void> {
    const query = { condition: ['stopped', 'exited'], interval: WAIT_INTERVAL };
    try {
      await this.#parts.podman.call('POST', `/containers/${name}/wait`, {
        query,
        signal,
        timeoutMs: 24 * 60 * 60_000,
      });
    } catch (error) {
      signal.throwIfAborted();
      this.#parts.logger.warn({ sandbox: name, reason: messageOf(error) }, 'waiting through Podman was cut');
    }
  }

  async #signalThroughApi(name: string, signal: 'TERM' | 'KILL'): Promise<void> {
    try {
      await this.#parts.podman.call('POST', `/containers/${name}/kill`, { query: { signal } });
    } catch (error) {
      // 404: gone; 409: not running.
      if (!(error instanceof PodmanApiError && [404, 409].includes(error.status)))
        throw asContainerError(error);
    }
  }

  async #overfull(name: string): Promise<void> {
    try {
      this.#look(name);
      await this.kill(name);
    } catch (error) {
      this.#parts.logger.warn(
        { sandbox: name, reason: messageOf(error) },
        'could not end a job with a full disk',
      );
    }
  }

  #known(name: string): Evidence {
    const known = this.#evidence.get(name);
    if (known) return known;
    const stored = parseEvidence(readJson(this.#parts.sandboxes.paths(name).evidence));
    this.#evidence.set(name, stored);
    return stored;
  }

  #look(name: string): void {
    const { cgroups, sandboxes } = this.#parts;
    const disk = this.#disk.use(sandboxes.paths(name));
    this.#evidence.set(name, withLook(this.#known(name), cgroups.counters(name), disk));
  }

  #record(name: string, facts: Partial<Pick<Evidence, 'exitCode' | 'killedByUs'>>): void {
    this.#evidence.set(name, { ...this.#known(name), ...facts });
    this.#persist(name);
  }

  #persist(name: string): void {
    try {
      writeJson(this.#parts.sandboxes.paths(name).evidence, this.#known(name));
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error; // disposed already
    }
  }
}

const withoutMonitor = (state: ContainerState): ContainerState => ({
  ...state,
  phase: 'exited',
  exitCode: null,
  finishedAt: null,
});

const asContainerError = (error: unknown): unknown =>
  error instanceof PodmanApiError
    ? new FlashpodsError('container_error', `Podman: ${error.message}`, { cause: error })
    : error;

function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}
