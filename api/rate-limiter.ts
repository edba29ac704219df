/** The buckets of this process, and how they stand in for those in Redis while that is away. */
import { FlashpodsError } from '../src/errors.ts';
import { RecentMap } from '../src/recent-map.ts';
import { within } from '../src/timing/within.ts';
import type { Rate, RateDecision, RateLimiter } from '../queues/rate-limit/rate-limiter.ts';

export type { Rate, RateDecision, RateLimiter };

interface Bucket {
  tokens: number;
  at: number;
}

/** The one unused for longest goes first: full again by then, unless this many callers come in a second. */
const MAX_BUCKETS = 10_000;

/** Buckets in the memory of this process: each process of several gives its callers the whole rate. */
export class ProcessRateLimiter implements RateLimiter {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #now: () => number;
  readonly #buckets = new RecentMap<string, Bucket>(MAX_BUCKETS);

  /** @param now milliseconds of a monotonic clock */
  constructor(options: Rate & { readonly now?: () => number }) {
    this.#perSecond = options.perSecond;
    this.#burst = options.burst;
    this.#now = options.now ?? (() => performance.now());
  }

  take(key: string): Promise<RateDecision> {
    const bucket = this.#refilled(key);
    const allowed = bucket.tokens >= 1;
    if (allowed) bucket.tokens -= 1;
    this.#buckets.set(key, bucket);
    return Promise.resolve(this.#decision(bucket, allowed));
  }

  look(key: string): Promise<RateDecision> {
    const bucket = this.#refilled(key);
    return Promise.resolve(this.#decision(bucket, bucket.tokens >= 1));
  }

  /** Makes the bucket as full as another limiter of the same rate has found its own. */
  learn(key: string, { resetMs }: RateDecision): void {
    const tokens = this.#burst - (resetMs / 1_000) * this.#perSecond;
    this.#buckets.set(key, { tokens: Math.max(0, tokens), at: this.#now() });
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

/**
 * A Redis that answers later than this is treated as absent. Some hundred times what it takes; with 10 ms, two API
 * processes on a machine with more work than cores let twice the burst through.
 */
const PATIENCE_MS = 25;

/**
 * Asks the shared buckets, and this process's own while those don't answer: no request waits longer than
 * `patienceMs` for them, and while one question hangs no other request waits at all. The own buckets go on from what
 * the shared ones last said; during an outage every process gives the whole rate. It never stops anybody.
 */
export class SharedRateLimiter implements RateLimiter {
  readonly #shared: RateLimiter;
  readonly #own: ProcessRateLimiter;
  readonly #patienceMs: number;
  /** Questions that are late: until they are answered or given up nobody asks another one. */
  #late = 0;

  constructor(shared: RateLimiter, own: ProcessRateLimiter, patienceMs = PATIENCE_MS) {
    this.#shared = shared;
    this.#own = own;
    this.#patienceMs = patienceMs;
  }

  take(key: string): Promise<RateDecision> {
    return this.#decide(key, (limiter) => limiter.take(key));
  }

  look(key: string): Promise<RateDecision> {
    return this.#decide(key, (limiter) => limiter.look(key));
  }

  async #decide(
    key: string,
    question: (limiter: RateLimiter) => Promise<RateDecision>,
  ): Promise<RateDecision> {
    if (this.#late > 0) return question(this.#own);
    const asked = question(this.#shared).catch((error: unknown) => {
      if (error instanceof FlashpodsError) return null;
      throw error;
    });
    const answer = await within(asked, this.#patienceMs, 'late' as const);
    if (answer === 'late') {
      this.#late += 1;
      void asked.catch(() => undefined).then(() => (this.#late -= 1));
    }
    if (answer === null || answer === 'late') return question(this.#own);
    this.#own.learn(key, answer);
    return answer;
  }
}
