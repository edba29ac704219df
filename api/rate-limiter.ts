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

/** Token buckets by key. Issue of fairness between callers, not of safety: an implementation that can't count allows. */
export interface RateLimiter {
  /** Takes one request out of the key's bucket, if it holds one. */
  take(key: string): Promise<RateDecision>;
  /** The bucket as it stands, nothing taken. */
  look(key: string): Promise<RateDecision>;
}

interface Bucket {
  tokens: number;
  at: number;
}

/** Buckets that nobody used for long are full again, which is what a missing one is taken for. */
const MAX_BUCKETS = 10_000;

/** Buckets in the memory of this process: each process of several gives its callers the whole rate. */
export class ProcessRateLimiter implements RateLimiter {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #now: () => number;
  readonly #buckets = new Map<string, Bucket>();

  /** @param now milliseconds of a monotonic clock */
  constructor(options: { perSecond: number; burst: number; now?: () => number }) {
    this.#perSecond = options.perSecond;
    this.#burst = options.burst;
    this.#now = options.now ?? (() => performance.now());
  }

  take(key: string): Promise<RateDecision> {
    const bucket = this.#refilled(key);
    const allowed = bucket.tokens >= 1;
    if (allowed) bucket.tokens -= 1;
    // Set anew so that the map's order is the order of last use, and the first is the one to drop.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    const oldest = this.#buckets.keys().next();
    if (this.#buckets.size > MAX_BUCKETS && !oldest.done) this.#buckets.delete(oldest.value);
    return Promise.resolve(this.#decision(bucket, allowed));
  }

  look(key: string): Promise<RateDecision> {
    return Promise.resolve(this.#decision(this.#refilled(key), true));
  }

  #refilled(key: string): Bucket {
    const now = this.#now();
    const { tokens, at } = this.#buckets.get(key) ?? { tokens: this.#burst, at: now };
    return { tokens: Math.min(this.#burst, tokens + ((now - at) / 1_000) * this.#perSecond), at: now };
  }

  #decision(bucket: Bucket, allowed: boolean): RateDecision {
    const msFor = (tokens: number): number => Math.max(0, (tokens / this.#perSecond) * 1_000);
    return {
      allowed,
      limit: this.#burst,
      remaining: Math.floor(bucket.tokens),
      retryAfterMs: allowed ? 0 : msFor(1 - bucket.tokens),
      resetMs: msFor(this.#burst - bucket.tokens),
    };
  }
}
