/** A cleaner over a real database and real files in one directory. */
import { join } from 'node:path';
import { Cleaner, type CleanerResources } from '../../processors/cleaner.ts';
import { deleteArtifacts, storedArtifacts } from '../../src/artifacts/artifact-files.ts';
import { Database } from '../../src/database/database.ts';
import { KnexJobStore } from '../../src/database/job-store.ts';
import { deleteLog, storedLogs } from '../../src/logs/log-files.ts';
import { createLogger } from '../../src/observability/logger.ts';

export interface OpenCleaner {
  readonly resources: CleanerResources;
  readonly cleaner: Cleaner;
  readonly store: KnexJobStore;
  readonly close: () => Promise<void>;
}

export async function openCleaner(dir: string): Promise<OpenCleaner> {
  const database = await Database.open({ path: join(dir, 'flashpods.db') });
  const store = new KnexJobStore(database);
  const logsDir = join(dir, 'logs');
  const artifactsDir = join(dir, 'artifacts');
  const resources: CleanerResources = {
    config: { logRetentionHours: 24, artifactRetentionHours: 1, logsTotalMb: 10_240 },
    store,
    logger: createLogger({ level: 'silent', role: 'test' }),
    storedLogs: () => storedLogs(logsDir),
    deleteLog: (jobId) => deleteLog(logsDir, jobId),
    storedArtifacts: () => storedArtifacts(artifactsDir),
    deleteArtifacts: (jobId) => deleteArtifacts(artifactsDir, jobId),
    sweepUploads: () => Promise.resolve(),
  };
  return { resources, cleaner: new Cleaner(resources), store, close: () => database.close() };
}
