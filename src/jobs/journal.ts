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
  /** The same, each entry with its job's row as it is now: it may have moved on since, and its `env` is empty. */
  readWithJobs(filter: EventFilter): Promise<{ event: JobEvent; job: Job }[]>;
  /**
   * `newest`: the highest position that there ever was; 0 before the first. `oldest`: none from here on was deleted, so
   * a reader may go on after `oldest - 1` or any later one.
   */
  bounds(): Promise<{ oldest: number; newest: number }>;

  /**
   * Deletes all events of jobs that were cleaned at `cleanedBefore` (milliseconds since the Unix epoch) or earlier.
   * @param most jobs at once @returns how many jobs lost theirs; as many as `most`: there may be more
   */
  deleteExpired(cleanedBefore: number, most: number): Promise<number>;
}
