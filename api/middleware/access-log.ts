import type { Logger } from '../../src/observability/logger.ts';
import type { ApiMiddleware } from '../context.ts';

/** One line a request, when its answer is sent or given up. Never the query, which may hold what a caller searches. */
export const accessLog =
  (logger: Logger): ApiMiddleware =>
  async (ctx, next) => {
    const begun = performance.now();
    ctx.res.once('close', () => {
      const entry = {
        request_id: ctx.state.requestId,
        method: ctx.method,
        path: ctx.path.slice(0, 256),
        status: ctx.res.statusCode,
        duration_ms: Math.round((performance.now() - begun) * 10) / 10,
        owner: ctx.state.caller?.principal.owner,
        token_id: ctx.state.caller?.principal.tokenId,
        ...(ctx.res.writableFinished ? {} : { aborted: true }),
      };
      if (ctx.path === '/health') logger.debug(entry, 'request');
      else logger.info(entry, 'request');
    });
    await next();
  };
