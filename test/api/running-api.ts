/** A real API on a free port, over a real SQLite file and a real Redis. */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createApp } from '../../api/app.ts';
import type { HealthCheck } from '../../api/health.ts';
import type { ApiResources } from '../../api/resources.ts';
import { ProcessRateLimiter, type RateLimiter } from '../../api/rate-limiter.ts';
import { type ApiServer, startApiServer } from '../../api/server.ts';
import { QueueAdmissions } from '../../queues/admissions.ts';
import { createQueueResources, type QueueResources } from '../../queues/resources.ts';
import { Database } from '../../src/database/database.ts';
import { KnexHostStore } from '../../src/database/host-store.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import { KnexSessionStore } from '../../src/database/session-store.ts';
import { KnexTenantStore } from '../../src/database/tenant-store.ts';
import { KnexTokenStore } from '../../src/database/token-store.ts';
import { KnexUploadStore } from '../../src/database/upload-store.ts';
import type { TokenVerifier } from '../../src/identity/principal.ts';
import { SingleToken } from '../../src/identity/single-token.ts';
import { Tokens } from '../../src/identity/tokens.ts';
import type { EventJournal } from '../../src/jobs/journal.ts';
import type { Announcements, JobQueue } from '../../src/jobs/ports.ts';
import { HostService } from '../../src/hosts/service.ts';
import { JobService } from '../../src/jobs/service.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { TenantLimits } from '../../src/tenants/tenant.ts';
import { NO_LIMITS, Tenants } from '../../src/tenants/tenants.ts';
import { type RsyncDaemon, startRsyncDaemon } from '../../src/uploads/rsync/daemon.ts';
import { LocalArtifactStore } from '../../src/artifacts/local-artifact-store.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import { LocalSnapshotStore } from '../../src/uploads/local-snapshot-store.ts';
import type { UploadLimits } from '../../src/uploads/limits.ts';
import { RsyncAccess } from '../../src/uploads/rsync/access.ts';
import { NO_RSYNC } from '../../src/uploads/rsync/rsync.ts';
import { UploadService } from '../../src/uploads/service.ts';
import { treeIds } from '../../src/uploads/tree.ts';
import { Caller } from '../support/http.ts';
import { LIMITS } from '../support/jobs.ts';
import { ownPrefix, silent, TestRedis } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { stocksOf } from '../../queues/images/stocks.ts';
import { CacheService } from '../../src/caches/service.ts';
import { ImageService } from '../../src/images/service.ts';

export const GENEROUS: UploadLimits = {
  oneBytes: 1_000_000,
  totalBytes: 5_000_000,
  openMs: 60_000,
  unusedMs: 60_000,
  idleMs: 10_000,
};

const ID_BASE = 1_000_000;

export interface ApiOptions {
  readonly rate?: { perSecond: number; burst: number };
  /** Instead of buckets of its own with that rate. */
  readonly rateLimiter?: (queues: QueueResources) => RateLimiter;
  readonly limits?: Partial<UploadLimits>;
  readonly healthChecks?: readonly HealthCheck[];
  readonly tokens?: (own: TokenVerifier) => TokenVerifier;
  /** What the API's own routes read of the journal. */
  readonly journal?: (own: EventJournal) => ApiResources['journal'];
  readonly queue?: (own: JobQueue) => JobQueue;
  readonly announcements?: (own: Announcements) => Announcements;
  readonly tenantDefaults?: Partial<TenantLimits>;
  readonly config?: Partial<ApiResources['config']>;
  readonly stopTimeoutMs?: number;
  /** With an rsync daemon, whose files belong to the containers' root. */
  readonly rsync?: boolean;
  readonly logger?: Logger;
  /** As FLASHPODS_ALLOW_ROOT says. Default true. */
  readonly allowsRoot?: boolean;
  /** Instead of what its own hosts say. */
  readonly images?: (queues: QueueResources) => ImageService;
  readonly caches?: (queues: QueueResources) => CacheService;
}

export interface RunningApi extends JobStores {
  readonly dir: string;
  readonly token: string;
  readonly caller: Caller;
  readonly server: ApiServer;
  readonly port: number;
  readonly database: Database;
  readonly hosts: KnexHostStore;
  readonly uploads: UploadService;
  readonly uploadStore: KnexUploadStore;
  readonly queues: QueueResources;
  readonly redis: TestRedis;
  readonly rsync: RsyncDaemon | null;
  stop(): Promise<void>;
}

export async function startApi(options: ApiOptions = {}): Promise<RunningApi> {
  const directory = await temporaryDirectory();
  const redis = await TestRedis.start();
  const logger = options.logger ?? silent;
  const database = await Database.open({ path: join(directory.path, 'flashpods.db') });
  const stores = jobStores(database);
  const hosts = new KnexHostStore(database);
  const uploadStore = new KnexUploadStore(database);
  const queues = createQueueResources({ redisUrl: redis.url, logger: silent, prefix: ownPrefix() });
  if (queues.connection.status !== 'ready') {
    await new Promise((ready) => queues.connection.once('ready', ready));
  }
  const rsyncPath = join(directory.path, 'rsync');
  const owner = { uid: ID_BASE, gid: ID_BASE };
  const rsync =
    options.rsync === true
      ? await startRsyncDaemon({
          directory: rsyncPath,
          host: '127.0.0.1',
          port: 0,
          hostsAllow: '127.0.0.1',
          owner,
          logger,
        })
      : null;
  const ids = treeIds(rsync ? ID_BASE : null);
  const uploads = new UploadService({
    store: uploadStore,
    snapshots: new LocalSnapshotStore(join(directory.path, 'uploads', 'snapshots'), ids),
    incomingPath: join(directory.path, 'uploads', 'incoming'),
    limits: { ...GENEROUS, ...options.limits },
    rsync: rsync ? new RsyncAccess(rsyncPath, ids, logger) : NO_RSYNC,
    logger,
  });
  const transfers = uploads.watchTransfers();
  const token = randomBytes(24).toString('hex');
  const own = new Tokens({ store: new KnexTokenStore(database), first: new SingleToken(token), logger });
  const tenants = new Tenants({
    store: new KnexTenantStore(database),
    defaults: { ...NO_LIMITS, ...options.tenantDefaults },
    logger,
  });
  const images =
    options.images?.(queues) ??
    new ImageService({ reports: () => stocksOf(queues), removals: queues.imageRemovals });
  const app = createApp({
    caches:
      options.caches?.(queues) ??
      new CacheService({
        reports: () => queues.caches.reports(queues.queue),
        removals: queues.cacheRemovals,
      }),
    images,
    jobs: new JobService({
      images,
      ...stores,
      queue: options.queue?.(queues.queue) ?? queues.queue,
      admissions: new QueueAdmissions({ ...stores, resources: queues, tenants, logger }),
      announcements: options.announcements?.(queues.announcements) ?? queues.announcements,
      hosts,
      limits: LIMITS,
      allowsRoot: options.allowsRoot ?? true,
      tenants,
      logger,
    }),
    tenants,
    uploads,
    hosts: new HostService({
      hosts,
      queries: stores.queries,
      control: queues.hostControl,
      queue: queues.queue,
      logger,
    }),
    queries: stores.queries,
    journal: options.journal?.(stores.journal) ?? stores.journal,
    logs: new LocalLogStore(join(directory.path, 'logs')),
    artifacts: new LocalArtifactStore(join(directory.path, 'artifacts')),
    config: { artifactRetentionHours: 1, ...options.config },
    tokens: options.tokens?.(own) ?? own,
    namedTokens: own,
    sessions: new KnexSessionStore(database),
    rateLimiter:
      options.rateLimiter?.(queues) ??
      new ProcessRateLimiter(options.rate ?? { perSecond: 100_000, burst: 100_000 }),
    healthChecks: options.healthChecks ?? [
      { name: 'database', matters: true, probe: () => database.ping() },
      { name: 'redis', matters: true, probe: () => queues.ping() },
    ],
    boardQueues: () => [queues.queues.intake],
    logger,
  });
  const server = await startApiServer({
    app,
    listenAddr: '127.0.0.1:0',
    logger,
    ...(options.stopTimeoutMs === undefined ? {} : { stopTimeoutMs: options.stopTimeoutMs }),
  });
  return {
    dir: directory.path,
    token,
    caller: new Caller(server.url, token),
    server,
    port: Number(new URL(server.url).port),
    database,
    ...stores,
    hosts,
    uploads,
    uploadStore,
    queues,
    redis,
    rsync,
    async stop() {
      await server.stop();
      await transfers.stop();
      await rsync?.stop();
      await queues.close();
      await database.close();
      await redis.stop();
      await directory.remove();
    },
  };
}

/** A port of this machine on which nothing listens at the moment. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((listening) => probe.listen(0, '127.0.0.1', listening));
  const address = probe.address();
  await new Promise((closed) => probe.close(closed));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
