/** A cleaner over a real database and real files in one directory. */
import { join } from 'node:path';
import { Cleaner } from '../../processors/cleaner.ts';
import type { CleanerResources } from '../../processors/resources.ts';
import { LocalArtifactStore } from '../../src/artifacts/local-artifact-store.ts';
import { Database } from '../../src/database/database.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import { createLogger } from '../../src/observability/logger.ts';

export interface OpenCleaner extends JobStores {
  readonly resources: CleanerResources;
  readonly cleaner: Cleaner;
  readonly close: () => Promise<void>;
}

export async function openCleaner(dir: string): Promise<OpenCleaner> {
  const database = await Database.open({ path: join(dir, 'flashpods.db') });
  const stores = jobStores(database);
  const resources: CleanerResources = {
    config: {
      logRetentionHours: 24,
      artifactRetentionHours: 1,
      eventsRetentionHours: 720,
      logsTotalMb: 10_240,
    },
    ...stores,
    logger: createLogger({ level: 'silent', role: 'test' }),
    logs: new LocalLogStore(join(dir, 'logs')),
    artifacts: new LocalArtifactStore(join(dir, 'artifacts')),
    uploads: { sweep: () => Promise.resolve() },
    runtime: { packages: null, caches: null },
  };
  return { resources, cleaner: new Cleaner(resources), ...stores, close: () => database.close() };
}
