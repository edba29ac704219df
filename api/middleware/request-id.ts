import { randomUUID } from 'node:crypto';
import type { ApiMiddleware } from '../context.ts';

const SANE = /^[A-Za-z0-9._:/+=-]{1,128}$/;

/** Names every request: by the caller's `X-Request-Id` if that is harmless, else by one of ours. */
export const requestId: ApiMiddleware = async (ctx, next) => {
  const given = ctx.get('X-Request-Id');
  ctx.state.requestId = SANE.test(given) ? given : randomUUID();
  ctx.set('X-Request-Id', ctx.state.requestId);
  await next();
};
