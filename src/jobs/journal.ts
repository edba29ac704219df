/** The append-only table of events. One implementation: `src/database/event-journal.ts`. */
import type { JobEvent } from './events.ts';
import type { Job } from './job.ts';

export interface EventFilter {
  readonly jobId?: string;
  readonly afterPosition?: number;
  readonly limit: number;
}

/** Entries are appended by {@link JobStore}, in the transaction of the change that they tell of. */
export interface EventJournal {
  /**
   * The entries of one job or of all, after a position, in their order. A position never becomes readable after a
   * higher one has: SQLite has one writer at a time, so positions are committed in their order, and a reader that goes
   * on after the last one that it saw misses nothing. (On PostgreSQL sequences don't promise that.)
   */
  read(filter: EventFilter): Promise<JobEvent[]>;
  /** The same, each entry with its job's row as it is now: it may have moved on since. */
  readWithJobs(filter: EventFilter): Promise<{ event: JobEvent; job: Job }[]>;
  /** The lowest and the highest position that the journal holds; 0 for an empty one. */
  bounds(): Promise<{ oldest: number; newest: number }>;
}
