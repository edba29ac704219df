/** What API and worker both stand on: database, Redis, stores of files. */
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ArtifactStore } from '../../src/artifacts/artifact-store.ts';
import { LocalArtifactStore } from '../../src/artifacts/local-artifact-store.ts';
import { type Config, ConfigError } from '../../src/config.ts';
import { Database } from '../../src/database/database.ts';
import { KnexHostStore } from '../../src/database/host-store.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import { KnexUploadStore } from '../../src/database/upload-store.ts';
import { KnexTenantStore } from '../../src/database/tenant-store.ts';
import { Ballast } from '../../src/files/ballast.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import type { LogStore } from '../../src/logs/log-store.ts';
import type { StopSteps } from '../../src/lifecycle/stop-in-order.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { TenantLimits } from '../../src/tenants/tenant.ts';
import { Tenants } from '../../src/tenants/tenants.ts';
import { uploadLimits } from '../../src/uploads/limits.ts';
import { LocalSnapshotStore } from '../../src/uploads/local-snapshot-store.ts';
import { RsyncAccess } from '../../src/uploads/rsync/access.ts';
import { UploadService } from '../../src/uploads/service.ts';
import type { SnapshotStore } from '../../src/uploads/snapshot-store.ts';
import { treeIds } from '../../src/uploads/tree.ts';
import { createQueueResources, type QueueResources } from '../../queues/resources.ts';
import { makePrivateDirectories, rsyncPath } from '../data-directory.ts';
import { enterInstallation } from '../installation.ts';

export interface SharedResources extends JobStores {
  readonly database: Database;
  readonly deploymentId: string;
  readonly hosts: KnexHostStore;
  readonly uploads: UploadService;
  readonly snapshots: SnapshotStore;
  readonly logs: LogStore;
  readonly artifacts: ArtifactStore;
  readonly queues: QueueResources;
  readonly tenants: Tenants;
}

/** @throws ConfigError */
export function redisUrlOf({ redisUrl }: Config): string {
  if (redisUrl !== undefined) return redisUrl;
  throw new ConfigError('FLASHPODS_REDIS_URL is needed here; `flashpods up` starts a Redis of its own');
}

/** Puts into `steps` what ends it. @throws ConfigError without Redis */
export async function openShared(config: Config, logger: Logger, steps: StopSteps): Promise<SharedResources> {
  const redisUrl = redisUrlOf(config);
  makePrivateDirectories(config);
  await enterInstallation(config, logger);
  for (const ballast of ballasts(config, logger)) {
    ballast.start();
    steps.unshift(['ballast', () => ballast.stop()]);
  }
  const database = await Database.open({ path: config.dbPath });
  steps.unshift(['database', () => database.close()]);
  const queues = createQueueResources({
    redisUrl,
    logger,
    graceMs: config.graceSeconds * 1_000,
    priorityAgeingMs: config.priorityAgeingSeconds * 1_000,
  });
  steps.unshift(['redis', () => queues.close()]);
  const deploymentId = await database.deploymentId();
  const holder = await queues.claim(deploymentId);
  if (holder !== null && holder !== deploymentId) {
    throw new ConfigError(
      `this Redis is that of another installation (${holder}); this one is ${deploymentId}\n  Give it a Redis of its own with FLASHPODS_REDIS_URL. If the other is gone (this one is its restored backup, say), delete what it left with \`redis-cli flushdb\`: everything in Redis is written anew from the database.`,
    );
  }
  const ids = treeIds(config.idBase);
  const snapshots = new LocalSnapshotStore(join(config.uploadsPath, 'snapshots'), ids);
  const uploads = new UploadService({
    store: new KnexUploadStore(database),
    snapshots,
    incomingPath: join(config.uploadsPath, 'incoming'),
    limits: uploadLimits(config),
    rsync: new RsyncAccess(rsyncPath(config), ids, logger),
    logger,
  });
  const tenants = new Tenants({
    store: new KnexTenantStore(database),
    defaults: tenantDefaults(config),
    logger,
  });
  return {
    database,
    deploymentId,
    ...jobStores(database, { keepUploadsMs: uploadLimits(config).unusedMs, keptMb: config.tenantKeptMb }),
    hosts: new KnexHostStore(database),
    uploads,
    snapshots,
    logs: new LocalLogStore(config.logsPath),
    artifacts: new LocalArtifactStore(config.artifactsPath),
    queues,
    tenants,
  };
}

/** One for each file system that Redis, database and journals write to. */
function ballasts({ dataDir, dbPath, ballastMb, minFreeDiskMb }: Config, logger: Logger): readonly Ballast[] {
  if (ballastMb === 0) return [];
  const byDevice = new Map(
    [dirname(dbPath), dataDir].map((directory) => [statSync(directory).dev, directory]),
  );
  return [...byDevice.values()].map(
    (directory) =>
      new Ballast({
        directory: join(directory, 'ballast'),
        bytes: ballastMb * 2 ** 20,
        restBytes: minFreeDiskMb * 2 ** 20,
        logger,
      }),
  );
}

const tenantDefaults = (config: Config): TenantLimits => ({
  runningJobs: config.tenantRunningJobs ?? null,
  cpus: config.tenantCpus ?? null,
  memoryGb: config.tenantMemoryGb ?? null,
  queuedJobs: config.tenantQueuedJobs,
  keptMb: config.tenantKeptMb,
});
