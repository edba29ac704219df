import { pauseAfter } from '../timing/backoff.ts';
import { ClientError } from './client-error.ts';

/** How often and how patiently a failed request is sent again. */
export interface RetryPolicy {
  /** Tries of a request that is answered with 429 or 503, the first included. */
  readonly maxAttempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
}

const NETWORK_RETRIES = 3;
const SERVER_ERROR_RETRIES = 2;
/** A server that asks for more patience than this gets its error shown instead. */
const LONGEST_RETRY_AFTER_MS = 300_000;

type FailureKind = 'busy' | 'network' | 'server';

/** Which kind of failure it is; null for one that is never retried (4xx, 507, our own mistakes). */
export function failureKind(error: unknown): FailureKind | null {
  if (!(error instanceof ClientError)) return null;
  if (error.status === null) return error.code === 'not_reachable' ? 'network' : null;
  if (error.status === 429 || error.status === 503) return 'busy';
  return error.status >= 500 && error.status !== 507 ? 'server' : null;
}

/** Counts one request's failures by kind and says how long to wait before the next try. */
export class Retries {
  readonly #policy: RetryPolicy;
  readonly #random: () => number;
  readonly #seen: Record<FailureKind, number> = { busy: 0, network: 0, server: 0 };

  constructor(policy: RetryPolicy, random: () => number = Math.random) {
    this.#policy = policy;
    this.#random = random;
  }

  /** @returns milliseconds to wait, or null when the error is to be passed on */
  delayAfter(error: unknown): number | null {
    const kind = failureKind(error);
    if (kind === null || !(error instanceof ClientError)) return null;
    const allowed = {
      busy: this.#policy.maxAttempts - 1,
      network: NETWORK_RETRIES,
      server: SERVER_ERROR_RETRIES,
    };
    if (this.#seen[kind] >= allowed[kind]) return null;
    this.#seen[kind] += 1;
    const { retryAfterMs } = error;
    if (retryAfterMs !== null && retryAfterMs > LONGEST_RETRY_AFTER_MS) return null;
    const failures = this.#seen.busy + this.#seen.network + this.#seen.server;
    const { baseDelayMs, maxDelayMs } = this.#policy;
    if (retryAfterMs !== null) return retryAfterMs + (baseDelayMs / 10) * this.#random();
    // Half of it is chance: clients that were turned away together don't come back together.
    return pauseAfter(failures, { firstMs: baseDelayMs, longestMs: maxDelayMs, jitter: 0.5 }, this.#random);
  }
}

/** `Retry-After` as seconds or as a date → milliseconds from now; undefined when it is neither. */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}(\.\d+)?$/.test(value.trim())) return Number(value) * 1_000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}
