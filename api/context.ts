/** What the middleware leaves for the routes, and the types that Koa needs to know of it. */
import type Router from '@koa/router';
import type { RouterMiddleware } from '@koa/router';
import type Koa from 'koa';
import { FlashpodsError } from '../src/errors.ts';
import type { Principal, Scope } from '../src/identity/principal.ts';

export interface RequestState {
  requestId: string;
  /** Null until the request is authenticated, and for public paths. */
  principal: Principal | null;
  /**
   * Aborted when the client has gone, its token was revoked or the server stops: nobody is to wait for this answer any
   * longer.
   */
  abandoned: AbortSignal;
  abandon: () => void;
}

export type ApiContext = Koa.ParameterizedContext<RequestState, object>;
export type ApiMiddleware = Koa.Middleware<RequestState, object>;
export type ApiRouter = Router<RequestState, object>;
export type RouteContext = Parameters<RouterMiddleware<RequestState, object>>[0];

/** @throws Error when the route is public: a programming error */
export function principalOf(ctx: { state: RequestState }): Principal {
  const { principal } = ctx.state;
  if (!principal) throw new Error('this route was reached without authentication');
  return principal;
}

const holds = (principal: Principal, scope: Scope): boolean =>
  principal.scopes.has(scope) || principal.scopes.has('admin');

/** Whose things the caller may see: an owner's name, or null for all of them. */
export const viewOf = (ctx: { state: RequestState }): string | null => {
  const principal = principalOf(ctx);
  return principal.scopes.has('admin') ? null : principal.owner;
};

/** @throws FlashpodsError insufficient_scope */
export function requireScope(ctx: { state: RequestState }, scope: Scope): void {
  if (holds(principalOf(ctx), scope)) return;
  throw new FlashpodsError('insufficient_scope', `This needs a token with the scope \`${scope}\`.`, {
    details: { scope },
  });
}
