/** One container as Podman has it, by its name. */
import { FlashpodsError, messageOf } from '../../../errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { retry } from '../../../timing/backoff.ts';
import { pause } from '../../../timing/bell.ts';
import type { ContainerState } from '../../runtime.ts';
import type { Cgroup } from '../cgroups/cgroups.ts';
import { PodmanApiError, type PodmanClient } from '../service/http.ts';
import type { CreateBody } from './create-spec.ts';
import { dropHalfMade, INITIALIZED, isHalfMade, runtimeStatus } from './half-made.ts';
import { userIdIn } from './job-user.ts';
import { openOutputPipes } from './output-pipes.ts';
import { startProblem } from './start-problem.ts';
import { inspectedState } from './state.ts';

const CREATE_TIMEOUT_MS = 60_000;
const START_TIMEOUT_MS = 120_000;
/** libpod's own polling, where no cgroup can be watched. */
const WAIT_INTERVAL = '100ms';
const WAIT_TIMEOUT_MS = 24 * 60 * 60_000;
const REMOVE_TRIES = 10;
const REMOVE_EVERY_MS = 100;
/** Between two questions while Podman does not answer. */
const SILENCE = { firstMs: 50, longestMs: 2_000 };

export class Container {
  readonly #name: string;
  readonly #deployment: string;
  readonly #podman: PodmanClient;
  readonly #logger: Pick<Logger, 'warn'>;
  /** Created by this process and not started yet: its start needs no look before it. */
  #isFresh = false;
  /** It began without Podman's having seen it. */
  #isUnseen = false;
  /** This process has removed it, or knows that there is none. */
  #isGone = false;

  /** @param deployment whose containers are ours; one of another's with this name is not seen */
  constructor(name: string, podman: PodmanClient, logger: Pick<Logger, 'warn'>, deployment: string) {
    this.#name = name;
    this.#deployment = deployment;
    this.#podman = podman;
    this.#logger = logger;
  }

  /** @returns its id @throws PodmanApiError */
  async create(body: CreateBody): Promise<string> {
    const post = () =>
      this.#podman.call('POST', '/containers/create', { body, timeoutMs: CREATE_TIMEOUT_MS });
    const answer = await post().catch(async (error: unknown) => {
      if (!(await this.#isNameOnly(error))) throw error;
      await this.discard();
      return post();
    });
    this.#isFresh = true;
    this.#isGone = false;
    return (answer.body as { Id: string }).Id;
  }

  /** Removes one that was never started. @throws PodmanApiError */
  async discard(): Promise<void> {
    await this.#podman.call('DELETE', `/containers/${this.#name}`, { query: { force: true } });
  }

  /** The id of a user by the container's `/etc/passwd`; 0 when that has no such name. */
  async userIdByName(user: string): Promise<number> {
    try {
      const query = { path: '/etc/passwd' };
      const passwd = await this.#podman.text('GET', `/containers/${this.#name}/archive`, { query });
      return userIdIn(passwd, user);
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 404) return 0;
      throw error;
    }
  }

  /** Whether there is something at a path of its file system; of one that was not started, of its image. */
  async has(path: string): Promise<boolean> {
    try {
      await this.#podman.call('HEAD', `/containers/${this.#name}/archive`, { query: { path } });
      return true;
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 404) return false;
      throw error;
    }
  }

  /**
   * Once in its life.
   * @param pipes whether `/dev/stdout` has to be opened for the job (see output-pipes), and what knows its processes
   * @throws FlashpodsError container_start_failed, container_error
   */
  async start(pipes: {
    readonly open: boolean;
    readonly of: Pick<Cgroup, 'processes'> | null;
  }): Promise<void> {
    const isFirst = this.#isFresh;
    this.#isFresh = false;
    if (!isFirst && (await this.#wasStarted())) return;
    const post = (verb: 'init' | 'start') =>
      this.#podman.call('POST', `/containers/${this.#name}/${verb}`, { timeoutMs: START_TIMEOUT_MS });
    const start = async (): Promise<void> => {
      if (pipes.open) {
        // Its first process is there then, and its command has not begun.
        await post('init');
        openOutputPipes(pipes.of?.processes() ?? (await this.#firstProcess()));
      }
      await post('start');
    };
    try {
      await start().catch(async (error: unknown) => {
        // guard: half-made
        if (!(error instanceof PodmanApiError && isHalfMade(error.message))) throw error;
        this.#logger.warn(
          { container: this.#name },
          'Podman died while it made the container; making it anew',
        );
        const { body } = await this.#podman.call('GET', `/containers/${this.#name}/json`);
        const { Id, OCIRuntime } = body as { Id: string; OCIRuntime: string };
        if (!(await dropHalfMade(OCIRuntime, Id))) throw error;
        await start();
      });
    } catch (error) {
      if (!(error instanceof PodmanApiError)) throw error;
      // An earlier attempt, whose answer was lost, may have been going on beside this one.
      if (!isFirst && (await this.inspect())?.phase === 'running') return;
      throw new FlashpodsError('container_start_failed', startProblem(error.message), { cause: error });
    }
  }

  /** @returns null when there is none @throws FlashpodsError container_error */
  async inspect(): Promise<ContainerState | null> {
    try {
      const body = await this.#read();
      if (body === null || inspectedState(body, this.#deployment) === null) return null;
      return (await this.#begunUnseen(body)) ?? inspectedState(body, this.#deployment);
    } catch (error) {
      throw asContainerError(error);
    }
  }

  /** What Podman knows under the name, whosever it is. @returns null when there is nothing */
  async #read(): Promise<unknown> {
    try {
      return (await this.#podman.call('GET', `/containers/${this.#name}/json`)).body;
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 404) return null;
      throw error;
    }
  }

  async #firstProcess(): Promise<number[]> {
    const { Pid } = ((await this.#read()) as { State: { Pid: number } } | null)?.State ?? { Pid: 0 };
    return Pid > 0 ? [Pid] : [];
  }

  /** Asks until Podman answers: it may be starting again, and no job is given up for that. @throws the signal's reason */
  inspectPatiently(signal: AbortSignal): Promise<ContainerState | null> {
    const onFailure = (error: unknown): void =>
      this.#logger.warn({ container: this.#name, reason: messageOf(error) }, 'Podman does not answer');
    return retry(() => this.inspect(), { ...SILENCE, signal, onFailure });
  }

  /** Until Podman says that it has ended, or does not answer any more. @throws the signal's reason */
  async waitThroughPodman(signal: AbortSignal): Promise<void> {
    const query = { condition: ['stopped', 'exited'], interval: WAIT_INTERVAL };
    try {
      const path = `/containers/${this.#name}/wait`;
      await this.#podman.call('POST', path, { query, signal, timeoutMs: WAIT_TIMEOUT_MS });
    } catch (error) {
      signal.throwIfAborted();
      this.#logger.warn(
        { container: this.#name, reason: messageOf(error) },
        'waiting through Podman was cut',
      );
    }
  }

  async signal(signal: 'TERM' | 'KILL'): Promise<void> {
    try {
      await this.#podman.call('POST', `/containers/${this.#name}/kill`, { query: { signal } });
    } catch (error) {
      // 404: gone; 409: not running.
      if (!(error instanceof PodmanApiError && [404, 409].includes(error.status)))
        throw asContainerError(error);
    }
  }

  /** Whether this process has removed it. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** With its processes. Idempotent. */
  async remove(): Promise<void> {
    const query = { force: true, timeout: 0, v: true };
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#podman.call('DELETE', `/containers/${this.#name}`, { query });
        break;
      } catch (error) {
        if (error instanceof PodmanApiError && error.status === 404) break;
        // The kernel may let go of a mount a moment after the last process has gone.
        const passes = error instanceof PodmanApiError && /device or resource busy/.test(error.message);
        if (!passes || tries === REMOVE_TRIES) throw asContainerError(error);
        await pause(REMOVE_EVERY_MS);
      }
    }
    this.#isFresh = false;
    this.#isGone = true;
  }

  /** @throws FlashpodsError container_start_failed when it can't be started any more */
  async #wasStarted(): Promise<boolean> {
    const state = await this.inspect();
    if (state === null)
      throw new FlashpodsError('container_start_failed', `there is no container ${this.#name}`);
    if (state.phase === 'created') return false;
    // Podman would run the command a second time.
    if (state.phase === 'exited' && state.startedAt === null && !this.#isUnseen)
      throw new FlashpodsError('container_start_failed', 'an earlier attempt to start the container failed');
    return true;
  }

  /**
   * The state of a container that began without Podman's having seen it; null of any other. Once it has ended Podman
   * is made to look for its exit code, which it only does for a container that it is told to stop.
   */
  async #begunUnseen(body: unknown): Promise<ContainerState | null> {
    const { Id, OCIRuntime, State } = body as { Id: string; OCIRuntime: string; State: { Status: string } };
    if (State.Status !== INITIALIZED) return null;
    const status = await runtimeStatus(OCIRuntime, Id);
    if (status !== 'running' && status !== 'stopped') return null;
    this.#isUnseen = true;
    if (status === 'stopped')
      await this.#podman.call('POST', `/containers/${Id}/stop`, { query: { timeout: 0 } });
    const { body: now } = await this.#podman.call('GET', `/containers/${Id}/json`);
    const state = inspectedState(now, this.#deployment);
    if (state === null || state.phase !== 'created') return state;
    // Between the two it may have been only about to begin; Podman says so itself then.
    return { ...state, phase: 'running' };
  }

  /** Whether Podman died while it created a container: its storage has the name, and no container is known by it. */
  async #isNameOnly(error: unknown): Promise<boolean> {
    if (!(error instanceof PodmanApiError) || !error.message.includes('already in use')) return false;
    return (await this.#read()) === null;
  }
}

/** Podman's own complaints, as an error of the catalogue. */
export const asContainerError = (error: unknown): unknown =>
  error instanceof PodmanApiError
    ? new FlashpodsError('container_error', `Podman: ${error.message}`, { cause: error })
    : error;
