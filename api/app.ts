import Koa from 'koa';
import { JobResults } from '../src/jobs/results.ts';
import type { RequestState } from './context.ts';
import { Health } from './health.ts';
import { abandonment } from './middleware/abandonment.ts';
import { accessLog } from './middleware/access-log.ts';
import { authentication } from './middleware/authentication.ts';
import { errorAnswers } from './middleware/errors.ts';
import { loginPage } from './middleware/login-page.ts';
import { RateLimit } from './middleware/rate-limit.ts';
import { requestId } from './middleware/request-id.ts';
import { securityHeaders } from './middleware/security-headers.ts';
import { type OpenLimits, OpenRequests } from './open-requests.ts';
import type { ApiResources } from './resources.ts';
import { ANY_TOKEN, routerOf } from './router.ts';
import { board } from './routes/board/routes.ts';
import { capacityOperations } from './routes/capacity/routes.ts';
import { docsOperations } from './routes/docs/routes.ts';
import { eventOperations } from './routes/events/routes.ts';
import { hostOperations } from './routes/hosts/routes.ts';
import { healthOperations } from './routes/health/routes.ts';
import { artifactOperations } from './routes/jobs/artifacts.ts';
import { cacheOperations } from './routes/caches/routes.ts';
import { imageOperations } from './routes/images/routes.ts';
import { outputOperations } from './routes/jobs/output.ts';
import { jobOperations } from './routes/jobs/routes.ts';
import { DomainBackend } from './routes/mcp/domain-backend.ts';
import { noDiscovery } from './routes/mcp/discovery.ts';
import { mcp } from './routes/mcp/routes.ts';
import { sessionOperations } from './routes/session/routes.ts';
import { tenantOperations } from './routes/tenants/routes.ts';
import { tokenOperations } from './routes/tokens/routes.ts';
import { uploadOperations } from './routes/uploads/routes.ts';
import { Sessions } from './sessions.ts';

const openLimits = ({
  streamsPerToken = 32,
  streams = 1_000,
  waitsPerToken = 256,
  waits = 4_000,
}: ApiResources['config']): OpenLimits => ({
  streams: { perToken: streamsPerToken, inAll: streams },
  waiting_requests: { perToken: waitsPerToken, inAll: waits },
});

/** Emitted on the app when its server begins to stop: a waiting handler then answers with what it has. */
export const STOPPING = 'stopping';

/** The whole HTTP API as a Koa application. Opens and starts nothing by itself. */
export function createApp(resources: ApiResources): Koa<RequestState, object> {
  const { jobs, logger, tokens } = resources;
  const app = new Koa<RequestState, object>();
  const stopping = new AbortController();
  app.once(STOPPING, () => stopping.abort());
  // Reached only by answers that broke off in the middle of their stream: nobody is left to be told.
  app.on('error', (error: unknown) => logger.debug({ err: error }, 'an answer broke off'));

  const sessions = new Sessions(resources.sessions);
  const results = new JobResults(resources);
  const operations = [
    ...jobOperations(resources),
    ...outputOperations(results),
    ...artifactOperations(results),
    ...eventOperations(resources),
    ...uploadOperations(resources),
    ...capacityOperations(resources),
    ...hostOperations(resources),
    ...imageOperations(resources),
    ...cacheOperations(resources),
    ...healthOperations(new Health(resources.healthChecks, logger)),
    ...sessionOperations(tokens, sessions),
    ...tokenOperations(resources),
    ...tenantOperations(resources),
  ];
  const limit = new RateLimit(resources.rateLimiter);
  const authenticate = authentication({ tokens, sessions, limit });
  const router = routerOf([...operations, ...docsOperations(operations)], authenticate);

  app.use(requestId);
  app.use(abandonment(stopping.signal, new OpenRequests(openLimits(resources.config))));
  app.use(accessLog(logger));
  app.use(securityHeaders);
  app.use(errorAnswers(logger));
  app.use(loginPage);
  app.use(board(resources, authenticate));
  app.use(noDiscovery(authenticate));
  app.use(
    mcp({
      hosts: (resources.config.mcpHosts ?? '').toLowerCase().split(' '),
      authenticate,
      count: (ctx, caller) => limit.countToken(ctx, caller.principal),
      stopping: stopping.signal,
      define: async (caller) => {
        const { flashpodsServer } = await import('../src/mcp/product.ts');
        return flashpodsServer(
          new DomainBackend({ jobs, results, images: resources.images, logger }, caller),
          null,
        );
      },
    }),
  );
  app.use(router.routes());
  app.use(async (ctx, next) => {
    await authenticate(ctx, ANY_TOKEN);
    await next();
  });
  app.use(router.allowedMethods());
  return app;
}
