/**
 * Changes of jobs in the database, each with its event in one transaction; made by {@link JobLifecycle} alone. One
 * implementation: `src/database/job-store.ts`.
 */
import type { JobSpec } from './description/types.ts';
import type { NewEvent } from './events.ts';
import type { ArtifactRecord, Job, JobFacts } from './job.ts';
import type { EndingReason, JobState } from './states.ts';

export type NewJob = JobSpec & {
  readonly id: string;
  readonly owner: string;
  readonly clientJobId: string | null;
  readonly requestHash: string;
  readonly notes?: readonly string[];
};

/** Columns that may change together with a state, or by themselves while a dispatch holds the job. */
export type JobPatch = Partial<
  Omit<
    JobFacts,
    | Exclude<keyof NewJob, keyof JobSpec>
    | 'position'
    | 'orderedAt'
    | 'status'
    | 'endingReason'
    | 'cancelRequestedAt'
    | 'createdAt'
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
  readonly event: NewEvent;
}

export interface CreateOptions {
  /** Most of the owner's jobs that may wait, this one counted, in the same transaction. Null: no limit. */
  readonly maxWaiting?: number | null;
  /** It shares the upload of an earlier job, which may have it already. */
  readonly isRerun?: boolean;
}

export interface JobStore {
  /**
   * Inserts row and journal entry in one transaction, and attaches `filesId` to the job in the same one.
   * An earlier, not cleaned job with the same owner and `clientJobId` is returned instead.
   * An upload without files is told in its notes.
   * @throws FlashpodsError upload_not_found, upload_not_finalized, upload_already_consumed, upload_expired,
   * quota_exceeded
   */
  create(job: NewJob, options?: CreateOptions): Promise<{ job: Job; created: boolean }>;

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
}
