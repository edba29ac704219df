/** What the middleware leaves for the routes, and the types that Koa needs to know of it. */
import type Router from '@koa/router';
import type { RouterMiddleware } from '@koa/router';
import type Koa from 'koa';
import { type Principal, viewOf as viewOfPrincipal } from '../src/identity/principal.ts';
import type { Caller } from './caller.ts';
import type { OpenKind, OpenRequests } from './open-requests.ts';

export interface RequestState {
  requestId: string;
  /** Missing until the request is authenticated, and where no token is asked for. */
  caller?: Caller;
  /** Aborted when the client has gone or the server stops. For what waits or streams: {@link abandonedOf}. */
  abandoned: AbortSignal;
  abandon: () => void;
  /** Counts what is open for long. */
  open: OpenRequests;
}

export type ApiContext = Koa.ParameterizedContext<RequestState, object>;
export type ApiMiddleware = Koa.Middleware<RequestState, object>;
export type ApiRouter = Router<RequestState, object>;
export type RouteContext = Parameters<RouterMiddleware<RequestState, object>>[0];

/** @throws Error when the operation is public: a programming error */
export function callerOf(ctx: { state: RequestState }): Caller {
  const { caller } = ctx.state;
  if (!caller) throw new Error('this route was reached without authentication');
  return caller;
}

export const principalOf = (ctx: { state: RequestState }): Principal => callerOf(ctx).principal;

/** Whose things the caller may see: an owner's name, or null for all of them. */
export const viewOf = (ctx: { state: RequestState }): string | null => viewOfPrincipal(principalOf(ctx));

/**
 * Aborted when nobody is to wait for this answer any longer: the client has gone, its token was revoked or the server
 * stops. Once it is asked for, the token is looked at for as long as the answer takes, and the request counts
 * as one that is open for long; so ask before anything of the answer is written.
 * @throws FlashpodsError too_many_open
 */
export function abandonedOf(ctx: ApiContext | RouteContext, kind: OpenKind): AbortSignal {
  const { state, res } = ctx;
  if (state.caller) state.open.enter(ctx, kind, state.caller.principal.tokenId);
  if (state.caller && !res.closed) res.once('close', state.caller.whenRevoked(state.abandon));
  return state.abandoned;
}
