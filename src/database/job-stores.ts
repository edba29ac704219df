import type { EventJournal } from '../jobs/journal.ts';
import { JobLifecycle } from '../jobs/lifecycle.ts';
import type { JobQueries } from '../jobs/queries.ts';
import type { JobStore } from '../jobs/store.ts';
import type { Database } from './database.ts';
import { KnexEventJournal } from './event-journal.ts';
import { KnexJobQueries } from './job-queries.ts';
import { KnexJobStore } from './job-store.ts';

const KEEP_UPLOADS_MS = 3_600_000;

/** All that the database knows of jobs. */
export interface JobStores {
  /** For {@link JobLifecycle} alone. */
  readonly store: JobStore;
  readonly lifecycle: JobLifecycle;
  readonly queries: JobQueries;
  readonly journal: EventJournal;
}

/**
 * @param keepUploadsMs how long an upload is kept when its job has ended
 * @param keptMb artifacts that an owner may keep by `keep_hours`, unless an admin set something else; null: no limit
 */
export function jobStores(
  database: Database,
  { keepUploadsMs = KEEP_UPLOADS_MS, keptMb = null }: { keepUploadsMs?: number; keptMb?: number | null } = {},
): JobStores {
  const store = new KnexJobStore(database, keepUploadsMs, keptMb);
  return {
    store,
    lifecycle: new JobLifecycle(store),
    queries: new KnexJobQueries(database),
    journal: new KnexEventJournal(database),
  };
}
