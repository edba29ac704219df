import type { ApiMiddleware } from '../context.ts';

/** Answers hold what jobs printed and left: no browser may guess a type for them, frame them or keep them. */
export const securityHeaders: ApiMiddleware = async (ctx, next) => {
  ctx.set('X-Content-Type-Options', 'nosniff');
  ctx.set('X-Frame-Options', 'DENY');
  ctx.set('Referrer-Policy', 'no-referrer');
  ctx.set('Cache-Control', 'no-store');
  await next();
};
