/** What the domain needs of the database. One implementation: `src/database/job-store.ts`. */
import type { ArtifactRecord, Job, JobEvent, JobSpec, JobType } from './job.ts';
import type { EndingReason, JobState } from './states.ts';

export interface NewJob extends JobSpec {
  readonly id: string;
  readonly owner: string;
  readonly clientJobId: string | null;
  readonly requestHash: string;
}

/** Columns that may change together with a state, or by themselves while a dispatch holds the job. */
export type JobPatch = Partial<
  Pick<
    Job,
    | 'error'
    | 'errorMessage'
    | 'host'
    | 'epoch'
    | 'imageDigest'
    | 'exitCode'
    | 'usage'
    | 'warnings'
    | 'artifactWarnings'
    | 'logTruncated'
    | 'waitingReason'
    | 'queuedAt'
    | 'startingAt'
    | 'startedAt'
    | 'endedAt'
    | 'completedAt'
    | 'logsDeletedAt'
    | 'artifactsDeletedAt'
  >
>;

export interface Transition {
  readonly from: readonly JobState[];
  readonly to: JobState;
  readonly patch?: JobPatch;
  /** Fence: the row must carry this epoch. */
  readonly epoch?: number;
  /** The row must have no ending reason (`null`), or one of these. Left out: not looked at. */
  readonly endingReason?: null | readonly EndingReason[];
  /** Replaces what is recorded of the job's artifacts, in the same transaction. */
  readonly artifacts?: readonly ArtifactRecord[];
  readonly actor: string;
  /** Goes into the journal entry; no secrets, no user content. */
  readonly payload?: Readonly<Record<string, unknown>>;
}

export interface JobFilter {
  readonly owner: string | null;
  readonly states: readonly JobState[] | null;
  readonly type: JobType | null;
  readonly label: readonly [key: string, value: string] | null;
  readonly limit: number;
  /** Only jobs with a smaller position (newest first). */
  readonly beforePosition: number | null;
}

export interface EventFilter {
  readonly jobId?: string;
  readonly afterPosition?: number;
  readonly limit: number;
}

export interface JobStore {
  /**
   * Inserts row and journal entry in one transaction, and claims `filesId` for the job in the same one.
   * An earlier, not cleaned job with the same owner and `clientJobId` is returned instead.
   * @param maxWaiting so many of the owner's jobs may wait, this one counted; counted in the same transaction. Null: any
   * @throws FlashpodsError upload_not_found, upload_not_finalized, upload_already_consumed, upload_expired,
   * quota_exceeded
   */
  create(job: NewJob, maxWaiting?: number | null): Promise<{ job: Job; created: boolean }>;

  get(id: string): Promise<Job | null>;
  /** The owner's job with that key, unless it is cleaned. */
  byClientJobId(owner: string, clientJobId: string): Promise<Job | null>;
  list(filter: JobFilter): Promise<{ jobs: Job[]; total: number }>;

  /** Compare-and-set with its journal entry in one transaction. @returns the new row, or null when it did not apply */
  transition(id: string, transition: Transition): Promise<Job | null>;

  /** Writes why the job ends, if nobody has; with a journal entry. @returns whether this call was the first */
  decideEnding(
    id: string,
    reason: EndingReason,
    actor: string,
    options?: { epoch?: number; patch?: JobPatch },
  ): Promise<boolean>;

  /** Changes columns without a change of state, as long as the dispatch `epoch` holds the job. */
  patch(id: string, epoch: number, patch: JobPatch): Promise<boolean>;

  /**
   * Writes why a job waits, as long as it waits with that epoch.
   * @param why what the journal says of it in an entry of the type `waiting`; null writes none
   */
  noteWaiting(id: string, epoch: number, reason: string, why: string | null): Promise<boolean>;

  /** Rows that a host answers for. */
  hostedOn(host: string): Promise<Job[]>;
  /** Waiting rows in their order, after a position. */
  waiting(afterPosition: number, limit: number): Promise<Job[]>;
  /** Rows that wait again after a dispatch that came to nothing, in their order: few, however long the queue is. */
  givenBack(limit: number): Promise<Job[]>;
  /** Terminal rows with logs or artifacts older than the times given, those that ended first in front. */
  expired(logsBefore: number, artifactsBefore: number, limit: number, skip?: number): Promise<Job[]>;
  /** Terminal rows whose logs are not deleted, those that ended first in front. */
  finishedWithLogs(limit: number, skip?: number): Promise<Job[]>;
  /** What of these jobs is not recorded as deleted; no entry for a job that has no row. */
  remains(ids: readonly string[]): Promise<ReadonlyMap<string, { logs: boolean; artifacts: boolean }>>;
  countByState(): Promise<Record<string, number>>;

  artifacts(id: string): Promise<ArtifactRecord[]>;

  /**
   * The journal, of one job or of all, after a position, in its order. A position never becomes readable after a
   * higher one has: SQLite has one writer at a time, so positions are committed in their order, and whoever reads on
   * after the last one that it saw misses nothing. (On PostgreSQL sequences don't promise that.)
   */
  events(filter: EventFilter): Promise<JobEvent[]>;
  /** The same, each entry with its job's row as it is now: it may have moved on since. */
  journal(filter: EventFilter): Promise<{ event: JobEvent; job: Job }[]>;
  /** The lowest and the highest position that the journal holds; 0 for an empty one. */
  journalBounds(): Promise<{ oldest: number; newest: number }>;
}
