/** The route `/mcp` of the API with a test's own definition behind it; all requests have the same caller. */
import Koa from 'koa';
import { STOPPING } from '../../api/app.ts';
import { Caller } from '../../api/caller.ts';
import { OpenRequests } from '../../api/open-requests.ts';
import type { ApiContext, RequestState } from '../../api/context.ts';
import { abandonment } from '../../api/middleware/abandonment.ts';
import { errorAnswers } from '../../api/middleware/errors.ts';
import { requestId } from '../../api/middleware/request-id.ts';
import { mcp } from '../../api/routes/mcp/routes.ts';
import { type ApiServer, startApiServer } from '../../api/server.ts';
import type { ServerDefinition } from '../../src/mcp/server.ts';
import { silent } from '../support/redis.ts';

export async function startMcpApi(define: () => ServerDefinition): Promise<ApiServer> {
  const app = new Koa<RequestState, object>();
  const stopping = new AbortController();
  app.once(STOPPING, () => stopping.abort());
  app.on('error', () => undefined);
  app.use(requestId);
  const limit = { perToken: 100, inAll: 100 };
  const open = new OpenRequests({ streams: limit, waiting_requests: limit });
  app.use(abandonment(stopping.signal, open));
  app.use(errorAnswers(silent));
  const principal = { tokenId: 'test', owner: 'test', scopes: new Set<never>() };
  const tokens = { find: async () => principal };
  const authenticate = async (ctx: ApiContext): Promise<void> => {
    ctx.state.caller = new Caller(principal, Buffer.alloc(0), tokens);
  };
  app.use(
    mcp({
      hosts: [],
      authenticate,
      count: async () => undefined,
      stopping: stopping.signal,
      define: async () => define(),
    }),
  );
  return startApiServer({ app, listenAddr: '127.0.0.1:0', logger: silent });
}
