/** Reads of jobs in the database. One implementation: `src/database/job-queries.ts`. */
import type { JobType } from './description/fields.ts';
import type { ArtifactRecord, Job } from './job.ts';
import type { JobState } from './states.ts';

export interface JobFilter {
  readonly owner: string | null;
  readonly states: readonly JobState[] | null;
  readonly type: JobType | null;
  readonly label: readonly [key: string, value: string] | null;
  /** A name (the label `name`), or the beginning of an id with `job_` or without. Left out: any. */
  readonly find?: string | null;
  /** `turn`: see {@link JobQueries.turns}. Left out: newest first. */
  readonly order?: 'newest' | 'turn';
  readonly limit: number;
  /** Only jobs with a smaller position (newest first). */
  readonly beforePosition: number | null;
}

/** Of jobs that ended until then, what is not kept for longer is over. Milliseconds since the Unix epoch. */
export interface Expiry {
  readonly logsBefore: number;
  readonly artifactsBefore: number;
  readonly now: number;
}

/** All methods throw a FlashpodsError `database_error` when the database does not answer. */
export interface JobQueries {
  get(id: string): Promise<Job | null>;
  /** The owner's job with that key, unless it is cleaned. */
  byClientJobId(owner: string, clientJobId: string): Promise<Job | null>;
  /** With an empty `env`, as `waiting`: it may be large, and only who runs or repeats a job needs it. */
  list(filter: JobFilter): Promise<{ jobs: Job[]; total: number }>;

  /**
   * The first jobs of every owner, active ones: those on a host in front, the oldest first, then those that wait, about
   * in the order of their turns. More than the limit where there are several owners: whose turn it is the queue knows.
   */
  turns(filter: JobFilter): Promise<{ jobs: Job[]; total: number }>;

  /** Jobs that a host answers for. */
  hostedOn(host: string): Promise<Job[]>;
  /** Waiting jobs in their order, after a position. */
  waiting(afterPosition: number, limit: number): Promise<Job[]>;
  /** Waiting jobs that may wait no longer, by their `max_queue_seconds`. */
  overdue(now: number, limit: number): Promise<Job[]>;
  /** Jobs that wait again after they were given back, in their order: few, even when the queue is long. */
  givenBack(limit: number): Promise<Job[]>;
  /** Terminal jobs with logs or artifacts that nobody keeps any longer, those that ended first in front. */
  expired(before: Expiry, limit: number, skip?: number): Promise<Job[]>;
  /** Bytes of artifacts that jobs keep longer because they asked for it, by owner. @param owner null: of all */
  keptBytes(owner: string | null, now: number): Promise<ReadonlyMap<string, number>>;
  /** Terminal jobs whose logs are not deleted, those that ended first in front. */
  finishedWithLogs(limit: number, skip?: number): Promise<Job[]>;
  /** What of these jobs is not recorded as deleted; no entry for a job that has no row. */
  remains(ids: readonly string[]): Promise<ReadonlyMap<string, { logs: boolean; artifacts: boolean }>>;

  /** What the job left, by name. */
  artifacts(id: string): Promise<ArtifactRecord[]>;
  /** The directories that hold what it left, by name. */
  artifactParents(id: string): Promise<ArtifactRecord[]>;
  /** @returns null when it left nothing of that name */
  artifact(id: string, name: string): Promise<ArtifactRecord | null>;
}
