/**
 * Keeps a host's lease from a thread with a connection of its own: neither a Podman that hangs nor a slow disk under
 * SQLite, whose calls stop the event loop, costs the host its lease.
 */
import { extname } from 'node:path';
import { Worker as Thread } from 'node:worker_threads';
import { once } from '../../src/lifecycle/once.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { BeatAnswer } from '../semaphore/semaphore.ts';

export interface HeartbeatOptions {
  readonly redisUrl: string;
  readonly prefix: string;
  readonly host: string;
  readonly everyMs: number;
  /** What the last heartbeat was answered. Called again with every heartbeat for as long as it is so. */
  onAnswer(answer: BeatAnswer | 'fenced'): void;
  readonly logger: Logger;
  /**
   * An event loop that has not turned for this time is taken for dead: then nobody is left who could do the
   * host's work, and its lease ends. Default 60,000.
   */
  readonly deadMs?: number;
}

export interface HeartbeatTask extends Pick<HeartbeatOptions, 'redisUrl' | 'prefix' | 'host' | 'everyMs'> {
  /** Counts the turns of the event loop that it beats for. */
  readonly turns: Int32Array;
  readonly deadMs: number;
}

/** To the thread: beat under this generation from now on; beat at once; end. */
export type HeartbeatOrder = { readonly generation: number } | 'now' | 'stop';

const TURN_MS = 1_000;
const DEAD_MS = 60_000;
const RESTART_MS = 1_000;

export class Heartbeat {
  readonly #o: HeartbeatOptions;
  readonly #turns = new Int32Array(new SharedArrayBuffer(4));
  #generation: number | null = null;
  #thread: Thread | null = null;
  #ended: Promise<void> = Promise.resolve();
  #turning: NodeJS.Timeout | undefined;
  #restart: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(options: HeartbeatOptions) {
    this.#o = options;
  }

  /** Beats under this generation from now on, at once for the first time. */
  begin(generation: number): void {
    this.#generation = generation;
    if (this.#stopping) return;
    if (this.#thread) return this.#order({ generation });
    this.#turning ??= setInterval(() => void Atomics.add(this.#turns, 0, 1), TURN_MS).unref();
    this.#launch();
  }

  /** Does not wait for the next time. */
  now(): void {
    this.#order('now');
  }

  /** The lease is left as it is, see `Semaphore.leave`. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping = true;
    clearInterval(this.#turning);
    clearTimeout(this.#restart);
    this.#order('stop');
    await this.#ended;
  });

  #launch(): void {
    clearTimeout(this.#restart);
    const { redisUrl, prefix, host, everyMs, deadMs = DEAD_MS, logger } = this.#o;
    const task: HeartbeatTask = { redisUrl, prefix, host, everyMs, deadMs, turns: this.#turns };
    // A build names it `.js`.
    const thread = new Thread(new URL(`./thread${extname(import.meta.url)}`, import.meta.url), {
      workerData: task,
    });
    thread.unref();
    this.#thread = thread;
    thread.on('message', (answer: BeatAnswer | 'fenced') => {
      if (!this.#stopping) this.#o.onAnswer(answer);
    });
    thread.on('error', (error) => logger.error({ err: error, host }, 'the heartbeat broke down'));
    this.#ended = new Promise((resolve) => {
      thread.once('exit', () => {
        this.#thread = null;
        resolve();
        if (!this.#stopping) this.#restart = setTimeout(() => this.#launch(), RESTART_MS).unref();
      });
    });
    if (this.#generation !== null) this.#order({ generation: this.#generation });
  }

  #order(order: HeartbeatOrder): void {
    this.#thread?.postMessage(order);
  }
}
