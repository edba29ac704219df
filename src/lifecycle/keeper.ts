/** Keeps a helper process (Redis, Podman, rsync, a role of `up`) running: started again, with growing pauses, when it ends. */
import type { Logger } from '../observability/logger.ts';
import { type Backoff, pauseAfter } from '../timing/backoff.ts';
import { pause } from '../timing/bell.ts';
import { once } from './once.ts';

export interface Helper {
  /** Resolves when it has ended, for any reason, with what there is to say of that. */
  readonly exited: Promise<unknown>;
  /** Ends it and gives back what it held, also after it ended by itself. */
  stop(): Promise<void>;
}

export interface KeeperOptions<T extends Helper> {
  readonly name: string;
  /** Resolves when it can be used. @param signal aborted when it is not wanted any more; what was begun is to end then */
  start(this: void, signal: AbortSignal): Promise<T>;
  /** Whether it is of no use to start it again after this end, or after this failure to start. */
  isFinal?(this: void, how: unknown): boolean;
  /** Between an end and the next start; 100 ms to 10 s by default. */
  readonly backoff?: Backoff;
  /** One that lived this long was well: the next pause is the first again. 30 s by default. */
  readonly wellMs?: number;
  readonly logger: Pick<Logger, 'error'>;
}

const BACKOFF: Backoff = { firstMs: 100, longestMs: 10_000 };
const WELL_MS = 30_000;

export class Keeper<T extends Helper> {
  readonly #o: KeeperOptions<T>;
  readonly #stopping = new AbortController();
  readonly #givenUp = Promise.withResolvers<unknown>();
  #current: T | null = null;
  #loop: Promise<void> = Promise.resolve();
  #restarts = 0;

  constructor(options: KeeperOptions<T>) {
    this.#o = options;
  }

  /** The one that runs; null between an end and the next start. */
  get current(): T | null {
    return this.#current;
  }

  /** How often it was tried to start it again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Resolves, with how it ended, when it will not be started again although nobody stopped it. */
  get givenUp(): Promise<unknown> {
    return this.#givenUp.promise;
  }

  /** @throws what the first start throws: nothing would get better by trying again */
  readonly start = once(async (): Promise<T> => {
    const { signal } = this.#stopping;
    signal.throwIfAborted();
    const first = this.#o.start(signal);
    this.#loop = first.then(
      (helper) => this.#keep(helper),
      () => undefined,
    );
    return first;
  });

  /** Also while it starts: nothing is left running. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping.abort(new Error(`${this.#o.name} was stopped`));
    await this.#loop;
    await this.#current?.stop();
    this.#current = null;
  });

  async #keep(first: T): Promise<void> {
    const { signal } = this.#stopping;
    const { name, start, isFinal, backoff = BACKOFF, wellMs = WELL_MS, logger } = this.#o;
    let failures = 0;
    for (let helper = first; ;) {
      this.#current = helper;
      const since = performance.now();
      let how = await Promise.race([helper.exited, aborted(signal)]);
      if (signal.aborted) return;
      this.#current = null;
      await helper.stop().catch(() => undefined); // it has ended; this only gives back what it held
      if (performance.now() - since >= wellMs) failures = 0;
      for (let next: T | null = null; next === null;) {
        if (isFinal?.(how)) return this.#givenUp.resolve(how);
        failures += 1;
        const pauseMs = pauseAfter(failures, backoff);
        const reason = how instanceof Error ? { err: how } : { how };
        logger.error({ helper: name, ...reason, pauseMs }, 'a helper process is down; starting it again');
        await pause(pauseMs, signal);
        if (signal.aborted) return;
        this.#restarts += 1;
        next = await start(signal).catch((failure: unknown) => {
          how = failure;
          return null;
        });
        if (signal.aborted && next === null) return;
        if (next) helper = next;
      }
    }
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
