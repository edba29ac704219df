import { pause } from './bell.ts';

/** Pauses that double from the first to the longest, ms. */
export interface Backoff {
  readonly firstMs: number;
  readonly longestMs: number;
  /** The share of a pause that is chance, 0 to 1; 0 by default. With 0.5 a pause is between half and all of it. */
  readonly jitter?: number;
}

export interface RetryOptions extends Backoff {
  /** Whether it may go better next time; every error by default. */
  again?(this: void, error: unknown): boolean;
  /** Told of each failure that is followed by another try. */
  onFailure?(this: void, error: unknown, pauseMs: number): void;
  readonly signal?: AbortSignal | undefined;
  /** `performance.now()` after which a failure is final. It is tried once at least. */
  readonly deadline?: number | undefined;
}

/** The pause after this many failures in a row (1 or more), ms. */
export function pauseAfter(failures: number, backoff: Backoff, random: () => number = Math.random): number {
  const { firstMs, longestMs, jitter = 0 } = backoff;
  const whole = Math.min(firstMs * 2 ** (failures - 1), longestMs);
  return whole * (1 - jitter + jitter * random());
}

/**
 * Calls `work` until it succeeds, one call at a time.
 * @throws what `work` threw last when it is not tried again, and the signal's reason once that is aborted
 */
export async function retry<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, deadline = Infinity } = options;
  for (let failures = 1; ; failures += 1) {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (options.again?.(error) === false || performance.now() >= deadline) throw error;
      signal?.throwIfAborted();
      const pauseMs = pauseAfter(failures, options);
      options.onFailure?.(error, pauseMs);
      await pause(pauseMs, signal);
    }
  }
}
