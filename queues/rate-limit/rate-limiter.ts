/** Token buckets in Redis: every API process takes from the same ones. */
import type { Redis } from 'ioredis';
import { ask } from '../connection.ts';
import type { Keys } from '../keys.ts';
import { scriptsOf } from '../script.ts';

export interface RateDecision {
  readonly allowed: boolean;
  /** Depth of the bucket. */
  readonly limit: number;
  /** Whole requests left. */
  readonly remaining: number;
  /** Until a request is allowed; 0 when one is now. */
  readonly retryAfterMs: number;
  /** Until the bucket is full again. */
  readonly resetMs: number;
}

/** Token buckets by key. */
export interface RateLimiter {
  /** Takes one request out of the key's bucket, if it holds one. */
  take(key: string): Promise<RateDecision>;
  /** The bucket as it stands, nothing taken. */
  look(key: string): Promise<RateDecision>;
}

export interface Rate {
  readonly perSecond: number;
  /** Depth of the bucket. */
  readonly burst: number;
}

const TAKE = scriptsOf(import.meta.url)('take');

/**
 * One script call a request, by Redis's clock: how the clocks of the API's machines stand does not matter. When
 * Redis loses its data every bucket is full. Methods throw FlashpodsError service_unavailable when Redis does not
 * answer, at once when it is known to be away; the request may have been counted then.
 */
export class RedisRateLimiter implements RateLimiter {
  readonly #connection: Redis;
  readonly #keys: Keys;
  readonly #rate: Rate;

  constructor(connection: Redis, keys: Keys, rate: Rate) {
    this.#connection = connection;
    this.#keys = keys;
    this.#rate = rate;
  }

  take(key: string): Promise<RateDecision> {
    return this.#run(key, 1);
  }

  look(key: string): Promise<RateDecision> {
    return this.#run(key, 0);
  }

  async #run(key: string, take: 0 | 1): Promise<RateDecision> {
    const { perSecond, burst } = this.#rate;
    const result = await ask(this.#connection, 'rate-limit', () =>
      TAKE.run(this.#connection, [this.#keys.rateLimit(key)], [perSecond, burst, take]),
    );
    const [allowed, remaining, retryAfterUs, resetUs] = result as [number, number, number, number];
    return {
      allowed: allowed === 1,
      limit: burst,
      remaining,
      retryAfterMs: retryAfterUs / 1_000,
      resetMs: resetUs / 1_000,
    };
  }
}
