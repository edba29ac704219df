/**
 * A process role as a child: started again, with growing pauses, whenever it dies. It notices through its IPC channel
 * when this process is gone, and stops in order then, however that came about.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { once } from '../src/lifecycle/once.ts';
import type { Logger } from '../src/observability/logger.ts';
import { RoleExit } from './roles/role.ts';

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 30_000;
/** A child that lived so long was well: the next pause is the first again. */
const WELL_MS = 60_000;
const STOP_MS = 30_000;

export interface SupervisedChildOptions {
  readonly name: string;
  /** What Node runs. */
  readonly args: readonly string[];
  /** Asked for at every start. */
  env(): NodeJS.ProcessEnv;
  /** Called with every new child, before it is ready. */
  onSpawn?(pid: number): void;
  readonly logger: Logger;
}

/** What a role says to its supervisor when it takes work. */
export interface ReadyMessage {
  readonly ready: true;
  readonly url?: string;
}

const isReady = (message: unknown): message is ReadyMessage =>
  typeof message === 'object' && message !== null && 'ready' in message && message.ready === true;

export class SupervisedChild {
  readonly #o: SupervisedChildOptions;
  readonly #stopping = new AbortController();
  readonly #firstReady = Promise.withResolvers<ReadyMessage>();
  readonly #givenUp = Promise.withResolvers<Error>();
  #child: ChildProcess | null = null;
  #loop: Promise<void> = Promise.resolve();
  #everReady = false;

  constructor(options: SupervisedChildOptions) {
    this.#o = options;
  }

  /** @throws Error when it ends before it was ready for the first time: nothing would get better by trying again */
  readonly start = once((): Promise<ReadyMessage> => {
    this.#loop = this.#supervise();
    return this.#firstReady.promise;
  });

  /** Resolves when it will not be started again although nobody stopped it. */
  get givenUp(): Promise<Error> {
    return this.#givenUp.promise;
  }

  /** SIGTERM, and SIGKILL to one that has not ended after half a minute. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping.abort();
    const child = this.#child;
    child?.kill('SIGTERM');
    const timer = setTimeout(() => {
      this.#o.logger.error({ child: this.#o.name }, 'it did not end in time; killing it');
      child?.kill('SIGKILL');
    }, STOP_MS);
    await this.#loop;
    clearTimeout(timer);
  });

  /** Ends it at once. */
  kill(): void {
    this.#stopping.abort();
    this.#child?.kill('SIGKILL');
  }

  async #supervise(): Promise<void> {
    const { signal } = this.#stopping;
    const { name, logger } = this.#o;
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const since = performance.now();
      const how = await this.#runOnce();
      if (signal.aborted) break;
      if (!this.#everReady || how.code === RoleExit.misconfigured || how.code === RoleExit.replaced) {
        const error = new Error(`the ${name} ended with ${how.text}`);
        this.#firstReady.reject(error);
        this.#givenUp.resolve(error);
        return;
      }
      if (performance.now() - since > WELL_MS) pauseMs = FIRST_PAUSE_MS;
      logger.error({ child: name, how: how.text, pauseMs }, 'a part has died; starting it again');
      await delay(pauseMs, undefined, { signal }).catch(() => undefined);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
    this.#firstReady.reject(new Error(`the ${name} was stopped before it was ready`));
  }

  async #runOnce(): Promise<{ code: number | null; text: string }> {
    // A process group of its own: Ctrl-C reaches `up` alone, which stops its children in order.
    const child = spawn(process.execPath, this.#o.args, {
      env: this.#o.env(),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    });
    this.#child = child;
    if (child.pid !== undefined) this.#o.onSpawn?.(child.pid);
    child.on('message', (message) => {
      if (!isReady(message)) return;
      this.#everReady = true;
      this.#firstReady.resolve(message);
    });
    return new Promise((resolve) => {
      child.once('error', (error) => resolve({ code: null, text: error.message }));
      child.once('exit', (code, signal) => {
        this.#child = null;
        resolve({ code, text: signal === null ? `exit code ${code}` : signal });
      });
    });
  }
}
