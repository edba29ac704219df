import { isIPv4, isIPv6 } from 'node:net';
import { FlashpodsError } from '../../src/errors.ts';
import type { Principal } from '../../src/identity/principal.ts';
import type { ApiContext } from '../context.ts';
import type { RateDecision, RateLimiter } from '../rate-limiter.ts';

/** Counts requests, says on every answer how many are left, and refuses with `rate_limited`. */
export class RateLimit {
  readonly #limiter: RateLimiter;

  constructor(limiter: RateLimiter) {
    this.#limiter = limiter;
  }

  /** Against the bucket of the caller's token. @throws FlashpodsError rate_limited */
  async countToken(ctx: ApiContext, { tokenId }: Principal): Promise<void> {
    count(ctx, await this.#limiter.take(`token:${tokenId}`));
  }

  /** Says what is left to the caller's token, and takes nothing from it. */
  async showToken(ctx: ApiContext, { tokenId }: Principal): Promise<void> {
    show(ctx, await this.#limiter.look(`token:${tokenId}`));
  }

  /**
   * Against the bucket of the caller's network, for those who have not shown a token that is good.
   * @throws FlashpodsError rate_limited
   */
  async countAddress(ctx: ApiContext): Promise<void> {
    count(ctx, await this.#limiter.take(addressKey(ctx)), 'Too many requests from this address.');
  }

  /** Says what is left to the caller's network, and takes nothing from it. */
  async showAddress(ctx: ApiContext): Promise<void> {
    show(ctx, await this.#limiter.look(addressKey(ctx)));
  }
}

const addressKey = (ctx: ApiContext): string => `address:${networkOf(ctx.req.socket.remoteAddress ?? '')}`;

function show(ctx: ApiContext, decision: RateDecision): void {
  ctx.set('X-RateLimit-Limit', String(decision.limit));
  ctx.set('X-RateLimit-Remaining', String(decision.remaining));
  ctx.set('X-RateLimit-Reset', String(Math.ceil((Date.now() + decision.resetMs) / 1_000)));
}

function count(ctx: ApiContext, decision: RateDecision, message?: string): void {
  show(ctx, decision);
  if (decision.allowed) return;
  const retryAfterSeconds = Math.max(1, Math.ceil(decision.retryAfterMs / 1_000));
  throw new FlashpodsError('rate_limited', message, { details: { retry_after_seconds: retryAfterSeconds } });
}

/**
 * An IPv4 address as it is, also in its IPv6 form; of an IPv6 address the first 64 bits, since its holder has
 * all that begin with those. `X-Forwarded-For` is what the caller says and is not read.
 */
export function networkOf(address: string): string {
  const plain = address.replace(/%.*$/, '');
  const mapped = /^::ffff:(\d+(?:\.\d+){3})$/i.exec(plain)?.[1];
  if (mapped !== undefined && isIPv4(mapped)) return mapped;
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - groups.length - after.length }, () => '0');
  return `${[...groups, ...zeros, ...after].slice(0, 4).join(':')}::/64`;
}
