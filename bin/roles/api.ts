/** The HTTP API as a process. */
import { createApp } from '../../api/app.ts';
import { diskCheck, type HealthCheck } from '../../api/health.ts';
import { ProcessRateLimiter, SharedRateLimiter } from '../../api/rate-limiter.ts';
import { startApiServer } from '../../api/server.ts';
import { Cleaner } from '../../processors/cleaner.ts';
import { QueueAdmissions } from '../../queues/admissions.ts';
import { stocksOf } from '../../queues/images/stocks.ts';
import { QueueTimeouts } from '../../queues/queue-timeouts.ts';
import { RedisRateLimiter } from '../../queues/rate-limit/rate-limiter.ts';
import { announceLocalServer, withdrawLocalServer } from '../../src/client/local-server.ts';
import { type Config, ConfigError } from '../../src/config.ts';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';
import { KnexSessionStore } from '../../src/database/session-store.ts';
import { KnexTokenStore } from '../../src/database/token-store.ts';
import { systemCode } from '../../src/errors.ts';
import { HostService } from '../../src/hosts/service.ts';
import { CacheService } from '../../src/caches/service.ts';
import { ImageService } from '../../src/images/service.ts';
import { SingleToken } from '../../src/identity/single-token.ts';
import { Tokens } from '../../src/identity/tokens.ts';
import { jobLimits } from '../../src/jobs/description/limits.ts';
import { JobService } from '../../src/jobs/service.ts';
import { once } from '../../src/lifecycle/once.ts';
import { stopInOrder, type StopSteps } from '../../src/lifecycle/stop-in-order.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { readToken } from '../data-directory.ts';
import type { RunningRole } from './role.ts';
import { startRsync } from './rsync.ts';
import { openShared, redisUrlOf, type SharedResources } from './shared.ts';

/** Time between two looks for jobs that have waited too long. */
const QUEUE_TIMEOUTS_MS = 1_000;

export async function startApiRole(config: Config, logger: Logger): Promise<RunningRole> {
  const first = new SingleToken(needed(config));
  const steps: StopSteps = [];
  const stop = once(() => stopInOrder(steps, logger));
  try {
    const shared = await openShared(config, logger, steps);
    const { database, lifecycle, queries, hosts, uploads, queues } = shared;
    await startRsync(config, logger, steps);
    const transfers = uploads.watchTransfers();
    steps.unshift(['transfers', () => transfers.stop()]);
    const stopTimeouts = new QueueTimeouts({ resources: queues, lifecycle, queries }).every(
      QUEUE_TIMEOUTS_MS,
    );
    steps.unshift(['queue timeouts', stopTimeouts]);
    // Also while no worker is up: what has expired goes, and counts against nobody's room.
    const cleaner = new Cleaner({ ...shared, config, runtime: { packages: null, caches: null }, logger });
    cleaner.start();
    steps.unshift(['cleaner', () => cleaner.stop()]);
    const tokens = new Tokens({ store: new KnexTokenStore(database), first, logger });
    const rate = { perSecond: config.rateLimitPerSecond, burst: config.rateLimitBurst };
    const images = new ImageService({ reports: () => stocksOf(queues), removals: queues.imageRemovals });
    const caches = new CacheService({
      reports: () => queues.caches.reports(queues.queue),
      removals: queues.cacheRemovals,
    });
    const app = createApp({
      ...shared,
      caches,
      images,
      jobs: new JobService({
        ...shared,
        ...queues,
        admissions: new QueueAdmissions({ ...shared, resources: queues, logger }),
        images,
        limits: jobLimits(config),
        allowsRoot: config.allowRoot === 'true',
        logger,
      }),
      hosts: new HostService({ hosts, queries, control: queues.hostControl, queue: queues.queue, logger }),
      config,
      tokens,
      namedTokens: tokens,
      sessions: new KnexSessionStore(database),
      rateLimiter: new SharedRateLimiter(
        new RedisRateLimiter(queues.connection, queues.keys, rate),
        new ProcessRateLimiter(rate),
      ),
      healthChecks: healthChecks(config, shared, steps),
      boardQueues: async () => [
        queues.queues.intake,
        ...(await hosts.known()).map(({ name }) => queues.queues.run(name)),
      ],
      logger,
    });
    const server = await startApiServer({ app, listenAddr: config.listenAddr, logger }).catch(advise);
    steps.unshift(['server', () => server.stop()]);
    await announceLocalServer(config.runPath, { url: server.url, pid: process.pid });
    steps.unshift(['announcement', () => withdrawLocalServer(config.runPath, process.pid)]);
    return { url: server.url, broken: new Promise(() => undefined), stop };
  } catch (error) {
    await stop().catch(() => undefined); // told by the logger; what failed first is what counts
    throw error;
  }
}

/** @returns the token @throws ConfigError that names all that is missing */
function needed(config: Config): string {
  const wrong: string[] = [];
  const find = <T>(read: (config: Config) => T): T | null => {
    try {
      return read(config);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      wrong.push(error.message);
      return null;
    }
  };
  const token = find(readToken);
  find(redisUrlOf);
  if (token !== null && wrong.length === 0) return token;
  throw new ConfigError(wrong.join('\n  '));
}

function advise(error: unknown): never {
  if (!(error instanceof Error) || systemCode(error.cause) !== 'EADDRINUSE') throw error;
  throw new Error(
    `${error.message}: something else listens there; end it, or choose another address with --listen-addr (FLASHPODS_LISTEN_ADDR), where port 0 takes a free one`,
  );
}

/** Podman is looked at where it is this machine's: workers elsewhere show themselves in `GET /capacity`. */
function healthChecks(
  config: Config,
  { database, queues }: SharedResources,
  steps: StopSteps,
): HealthCheck[] {
  const checks: HealthCheck[] = [
    { name: 'database', matters: true, probe: () => database.ping() },
    { name: 'redis', matters: true, probe: () => queues.ping() },
    diskCheck(
      [...new Set([config.dataDir, config.logsPath, config.artifactsPath, config.uploadsPath])],
      config.minFreeDiskMb * 2 ** 20,
    ),
  ];
  if (config.podmanSocket === undefined) return checks;
  const podman = new PodmanClient(config.podmanSocket);
  steps.unshift(['podman client', () => podman.close()]);
  const probe = (): Promise<unknown> => podman.call('GET', '/_ping', { timeoutMs: 1_000 });
  return [...checks, { name: 'podman', matters: false, probe }];
}
