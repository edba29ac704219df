/** A service that another process gives us (Redis, Podman): started again, with growing pauses, when it ends. */
import { setTimeout as delay } from 'node:timers/promises';
import { once } from '../src/lifecycle/once.ts';
import type { Logger } from '../src/observability/logger.ts';

export interface Service {
  /** Resolves when it has ended, for whatever reason. */
  readonly exited: Promise<void>;
  stop(): Promise<void>;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;

export class KeptService<T extends Service> {
  readonly #name: string;
  readonly #start: () => Promise<T>;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  #current: T | null = null;
  #loop: Promise<void> = Promise.resolve();

  constructor(name: string, start: () => Promise<T>, logger: Logger) {
    this.#name = name;
    this.#start = start;
    this.#logger = logger;
  }

  /** @throws whatever the first start throws */
  readonly start = once(async (): Promise<T> => {
    const first = await this.#start();
    this.#current = first;
    this.#loop = this.#keep(first);
    return first;
  });

  readonly stop = once(async (): Promise<void> => {
    this.#stopping.abort();
    await this.#loop;
    await this.#current?.stop();
  });

  async #keep(first: T): Promise<void> {
    const { signal } = this.#stopping;
    const stopped = new Promise<void>((resolve) =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    let service = first;
    let pauseMs = FIRST_PAUSE_MS;
    for (;;) {
      await Promise.race([service.exited, stopped]);
      if (signal.aborted) return;
      this.#logger.error({ service: this.#name }, 'a service has ended; starting it again');
      await service.stop().catch(() => undefined); // it has ended; this only gives back what it held
      for (;;) {
        await delay(pauseMs, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
        try {
          service = await this.#start();
          break;
        } catch (error) {
          this.#logger.error(
            { err: error, service: this.#name, pauseMs },
            'the service could not be started; trying again',
          );
        }
      }
      this.#current = service;
      pauseMs = FIRST_PAUSE_MS;
    }
  }
}
