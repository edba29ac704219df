/** A pause that ends early when somebody rings, also when it rang since the last pause. One waits at a time. */
export class Bell {
  readonly #signal: AbortSignal | undefined;
  #rung = false;
  #wake: () => void = () => undefined;

  /** @param signal ends every pause at once, also those that begin later */
  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  readonly ring = (): void => {
    this.#rung = true;
    this.#wake();
  };

  /** Resolves after `ms` at the latest; never throws. Without `ms` only a ring or the signal ends it. */
  async wait(ms?: number): Promise<void> {
    if (!this.#rung) {
      await until((wake) => (this.#wake = wake), ms, this.#signal);
      this.#wake = () => undefined;
    }
    this.#rung = false;
  }
}

/** Resolves after `ms`, or as soon as the signal is aborted; never throws. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> => until(() => undefined, ms, signal);

async function until(
  begin: (wake: () => void) => unknown,
  ms: number | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (signal?.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = ms === undefined ? undefined : setTimeout(resolve, Math.max(0, ms));
  const wake = (): void => resolve();
  signal?.addEventListener('abort', wake, { once: true });
  begin(wake);
  await promise;
  clearTimeout(timer);
  signal?.removeEventListener('abort', wake);
}
