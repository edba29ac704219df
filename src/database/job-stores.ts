import type { EventJournal } from '../jobs/journal.ts';
import type { JobQueries } from '../jobs/queries.ts';
import type { JobStore } from '../jobs/store.ts';
import type { Database } from './database.ts';
import { KnexEventJournal } from './event-journal.ts';
import { KnexJobQueries } from './job-queries.ts';
import { KnexJobStore } from './job-store.ts';

/** All that the database knows of jobs. */
export interface JobStores {
  readonly store: JobStore;
  readonly queries: JobQueries;
  readonly journal: EventJournal;
}

export const jobStores = (database: Database): JobStores => ({
  store: new KnexJobStore(database),
  queries: new KnexJobQueries(database),
  journal: new KnexEventJournal(database),
});
