import { FlashpodsError } from '../../src/errors.ts';
import type { ApiContext } from '../context.ts';
import type { RateLimiter } from '../rate-limiter.ts';

/**
 * Counts a request against its token's bucket; whoever has none shares the bucket of its address. Health is shown
 * but never counted: a flood from behind the same proxy must not take the server out of its load balancer.
 * @throws FlashpodsError rate_limited
 */
export const rateLimit =
  (limiter: RateLimiter) =>
  async (ctx: ApiContext): Promise<void> => {
    const { principal } = ctx.state;
    const key = principal ? `token:${principal.tokenId}` : `address:${ctx.req.socket.remoteAddress ?? ''}`;
    const decision = ctx.path === '/health' ? await limiter.look(key) : await limiter.take(key);
    ctx.set('X-RateLimit-Limit', String(decision.limit));
    ctx.set('X-RateLimit-Remaining', String(decision.remaining));
    ctx.set('X-RateLimit-Reset', String(Math.ceil((Date.now() + decision.resetMs) / 1_000)));
    if (decision.allowed) return;
    const retryAfterSeconds = Math.max(1, Math.ceil(decision.retryAfterMs / 1_000));
    throw new FlashpodsError('rate_limited', undefined, {
      details: { retry_after_seconds: retryAfterSeconds },
    });
  };
