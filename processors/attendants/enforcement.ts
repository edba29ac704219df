/** Once an end is decided: SIGTERM to all of the job, the grace, then SIGKILL. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { persist } from '../persist.ts';
import type { Attendant, Attended } from './attendant.ts';

export interface EnforcementOptions extends Pick<Attended, 'ending' | 'detach' | 'logger'> {
  readonly graceMs: number;
}

export class Enforcement implements Attendant {
  readonly #o: EnforcementOptions;
  readonly #over = new AbortController();
  #work: Promise<void> = Promise.resolve();

  constructor(options: EnforcementOptions) {
    this.#o = options;
  }

  started(sandbox: Sandbox): void {
    this.#work = this.#enforce(sandbox);
  }

  close(): Promise<void> {
    this.#over.abort();
    return this.#work;
  }

  /** Never throws. */
  async #enforce(sandbox: Sandbox): Promise<void> {
    const { ending, graceMs, detach, logger } = this.#o;
    const over = AbortSignal.any([this.#over.signal, detach]);
    try {
      await aborted(ending.decided, over);
      await persist('ending the job', logger, over, () => sandbox.terminate());
      await delay(graceMs, undefined, { signal: over });
      await persist('killing the job', logger, over, () => sandbox.kill());
    } catch (error) {
      if (!over.aborted) logger.error({ err: error }, 'ending the job failed');
    }
  }
}

/** Resolves when `signal` is aborted. @throws when `over` is aborted first */
function aborted(signal: AbortSignal, over: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const give = (): void => reject(new Error('over'));
    if (signal.aborted) return resolve();
    if (over.aborted) return give();
    signal.addEventListener('abort', () => resolve(), { once: true });
    over.addEventListener('abort', give, { once: true });
  });
}
