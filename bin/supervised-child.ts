/**
 * A process role as a child of `up`. It notices through its IPC channel when this process is gone, and stops in order
 * then, however that came about.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { asItIs, type Launch } from '../src/lifecycle/launch.ts';
import { Keeper } from '../src/lifecycle/keeper.ts';
import { once } from '../src/lifecycle/once.ts';
import type { Logger } from '../src/observability/logger.ts';
import { within } from '../src/timing/within.ts';
import { RoleExit } from './roles/role.ts';

const BACKOFF = { firstMs: 200, longestMs: 30_000 };
const WELL_MS = 60_000;
const STOP_MS = 30_000;

export interface SupervisedChildOptions {
  readonly name: string;
  readonly args: readonly string[];
  /** How it is started; as it is by default. */
  readonly launch?: Launch;
  /** Asked for at every start. */
  env(this: void): NodeJS.ProcessEnv;
  /** Called with every new child, before it is ready. */
  onSpawn?(this: void, pid: number): void;
  readonly logger: Logger;
}

/** What a role says to its supervisor when it takes work. */
export interface ReadyMessage {
  readonly ready: true;
  readonly url?: string;
}

const isReady = (message: unknown): message is ReadyMessage =>
  typeof message === 'object' && message !== null && 'ready' in message && message.ready === true;

class ChildEnd extends Error {
  override readonly name = 'ChildEnd';
  readonly code: number | null;

  constructor(child: string, how: string, code: number | null) {
    super(`the ${child} ended with ${how}`);
    this.code = code;
  }
}

interface Child {
  readonly ready: ReadyMessage;
  readonly exited: Promise<ChildEnd>;
  stop(): Promise<void>;
}

export class SupervisedChild {
  readonly #o: SupervisedChildOptions;
  readonly #keeper: Keeper<Child>;
  #process: ChildProcess | null = null;

  constructor(options: SupervisedChildOptions) {
    this.#o = options;
    this.#keeper = new Keeper({
      name: options.name,
      start: (signal) => this.#spawn(signal),
      isFinal: (how) =>
        how instanceof ChildEnd && (how.code === RoleExit.misconfigured || how.code === RoleExit.replaced),
      backoff: BACKOFF,
      wellMs: WELL_MS,
      logger: options.logger,
    });
  }

  /** @throws Error when it ends before it was ready for the first time: nothing would get better by trying again */
  async start(): Promise<ReadyMessage> {
    return (await this.#keeper.start()).ready;
  }

  /** Resolves when it will not be started again although nobody stopped it. */
  get givenUp(): Promise<Error> {
    return this.#keeper.givenUp as Promise<Error>;
  }

  /** SIGTERM, and SIGKILL to one that has not ended after half a minute. */
  readonly stop = (): Promise<void> => this.#keeper.stop();

  /** Ends it at once. */
  kill(): void {
    void this.stop();
    this.#process?.kill('SIGKILL');
  }

  async #spawn(signal: AbortSignal): Promise<Child> {
    const { name, args, env, onSpawn, logger } = this.#o;
    const [file, words] = (this.#o.launch ?? asItIs)(process.execPath, args);
    // A process group of its own: Ctrl-C reaches `up` alone, which stops its children in order.
    const child = spawn(file, words, {
      env: env(),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    });
    this.#process = child;
    if (child.pid !== undefined) onSpawn?.(child.pid);
    const ready = new Promise<ReadyMessage>((resolve) =>
      child.on('message', (message) => isReady(message) && resolve(message)),
    );
    const exited = new Promise<ChildEnd>((resolve) => {
      child.once('error', (error) => resolve(new ChildEnd(name, error.message, null)));
      child.once('exit', (code, by) => resolve(new ChildEnd(name, by ?? `exit code ${code}`, code)));
    });
    const stop = once(async () => {
      child.kill('SIGTERM');
      if ((await within(exited, STOP_MS, null)) !== null) return;
      logger.error({ child: name }, 'it did not end in time; killing it');
      child.kill('SIGKILL');
      await exited;
    });
    const abort = (): void => void stop();
    signal.addEventListener('abort', abort);
    void exited.then(() => signal.removeEventListener('abort', abort));
    const first = await Promise.race([ready, exited]);
    if (first instanceof ChildEnd) throw first;
    return { ready: first, exited, stop };
  }
}
