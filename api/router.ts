/** Operations become routes: each lets its caller in, checks what the request carries, and is handed both. */
import Router from '@koa/router';
import type { RequestState } from './context.ts';
import type { Authenticate } from './middleware/authentication.ts';
import { inputOf } from './middleware/input.ts';
import { type Access, type Operation, routerPath } from './operation.ts';

/** What is no operation is told to callers with a token only. */
export const ANY_TOKEN: Access = { scope: 'any' };

export function routerOf(
  operations: readonly Operation[],
  authenticate: Authenticate,
): Router<RequestState, object> {
  const router = new Router<RequestState, object>();
  for (const operation of operations) {
    router[operation.method](routerPath(operation.path), async (ctx) => {
      // The router also takes a slash at the end and capitals: what is public is so by its very path only.
      const isOpen = operation.scope === 'public' || operation.scope === 'body';
      await authenticate(ctx, isOpen && ctx.path !== operation.path ? ANY_TOKEN : operation);
      await operation.handle(ctx, await inputOf(ctx, operation));
    });
  }
  return router;
}
