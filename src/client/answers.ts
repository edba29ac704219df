/** What the API answers, as far as the client reads it. Field names are the API's. Times are ISO 8601 in UTC. */
import type { Usage } from '../containers/runtime.ts';
import type { JobType } from '../jobs/description/fields.ts';
import type { RangedField } from '../jobs/description/limits.ts';
import type { SnakeKeys } from '../jobs/description/names.ts';
import type { FieldsAnswer } from '../jobs/description/types.ts';
import type { JobState } from '../jobs/states.ts';
import type { FoundRecord, LogRecord } from '../logs/log-store.ts';

type Optional<Fields> = { readonly [Name in keyof Fields]?: Fields[Name] | undefined };

/** Of the job's own fields an older server may lack some. */
export interface JobAnswer
  extends Optional<Omit<FieldsAnswer, RangedField | 'type'>>, Pick<FieldsAnswer, RangedField> {
  readonly id: string;
  readonly owner?: string;
  readonly type: JobType;
  readonly status: JobState;
  readonly queue_position?: number | null;
  readonly waiting_reason?: string | null;
  /** An upper bound, by the time limits of what is ahead. */
  readonly latest_start?: string | null;
  /** Its older name. */
  readonly estimated_start?: string | null;
  readonly host?: string | null;
  readonly cancel_requested?: boolean;
  readonly exit_code?: number | null;
  readonly ran_by?: string | null;
  /** A code of the catalogue, or a sentence. */
  readonly error?: string | null;
  /** Always a code of the catalogue. */
  readonly error_code?: string | null;
  readonly error_message?: string | null;
  readonly usage?: UsageAnswer | null;
  readonly created_at: string;
  readonly queued_at?: string | null;
  readonly started_at?: string | null;
  readonly completed_at?: string | null;
  readonly elapsed_seconds?: number | null | undefined;
  readonly duration_seconds?: number | null | undefined;
  readonly queue_seconds?: number;
  readonly log_truncated?: boolean;
  readonly notes?: readonly string[];
  readonly warnings?: readonly string[];
  readonly artifact_warnings?: readonly string[];
  readonly error_lines?: readonly string[] | undefined;
}

export type UsageAnswer = Optional<SnakeKeys<Usage>>;

export interface CreatedJob {
  readonly job_id: string;
  readonly status: JobState;
  readonly created: boolean;
  readonly cpus: number;
  readonly memory_gb: number;
  readonly timeout_minutes: number;
  readonly queue_position: number | null;
  readonly waiting_reason?: string | null;
  /** An upper bound, by the time limits of what is ahead. */
  readonly latest_start?: string | null;
  /** Its older name. */
  readonly estimated_start?: string | null;
  readonly notes?: readonly string[] | undefined;
}

export interface JobList {
  readonly jobs: readonly JobAnswer[];
  readonly total: number;
  readonly next_cursor: string | null;
}

/** An older server tells of files alone, without mode and time. */
export interface ArtifactAnswer {
  readonly name: string;
  readonly type?: 'file' | 'symlink' | 'directory';
  readonly size_bytes: number;
  /** Null where there are no bytes. */
  readonly sha256: string | null;
  /** `0755` */
  readonly mode?: string | null;
  /** ISO 8601 to the nanosecond. */
  readonly mtime?: string | null;
  readonly link_target?: string | undefined;
  /** Of a symlink: name of the artifact with its bytes. */
  readonly leads_to?: string | undefined;
  readonly created_at: string;
}

/** A directory that holds artifacts. */
export type ArtifactDirectory = Pick<ArtifactAnswer, 'name' | 'mode' | 'mtime'>;

export interface ArtifactList {
  readonly artifacts: readonly ArtifactAnswer[];
  readonly directories?: readonly ArtifactDirectory[];
  readonly total_size_bytes: number;
  readonly next_cursor?: string | null;
  /** Whether nothing that the job left is missing; `warnings` says what is. */
  readonly complete?: boolean;
  readonly warnings?: readonly string[];
  readonly expires_at: string | null;
  readonly copy_in_progress: boolean;
}

export interface UploadAnswer {
  readonly upload_id: string;
  readonly state: string;
  readonly size_bytes?: number | null;
  readonly file_count?: number | null;
  readonly expires_at?: string | null;
}

export interface CreatedUpload extends UploadAnswer {
  readonly base?: string | null;
  /** `rsync://USER@HOST:PORT/uploads/`; null where no rsync daemon runs. */
  readonly rsync_url?: string | null;
  readonly rsync_password?: string | null;
}

export interface HealthAnswer {
  readonly status: 'healthy' | 'degraded' | 'unhealthy';
  readonly version: string;
  readonly uptime_seconds: number;
  readonly checks: Readonly<Record<string, unknown>>;
}

export interface HostAnswer {
  readonly name: string;
  readonly state: string | null;
  readonly draining: boolean;
  readonly empty: boolean;
  readonly jobs: readonly {
    readonly id: string;
    readonly owner: string;
    readonly status: JobState;
    readonly started_at: string | null;
    readonly timeout_minutes: number;
  }[];
}

export interface CapacityAnswer {
  readonly hosts: readonly {
    readonly name: string;
    readonly state: string;
    readonly capacity: ResourcesAnswer;
    readonly free: ResourcesAnswer;
    readonly running_jobs: number;
  }[];
  readonly queue: { readonly length: number; readonly oldest_wait_seconds: number };
}

export interface ResourcesAnswer {
  readonly cpus: number;
  readonly memory_gb: number;
}

/** A line of a log, or a part of an overlong one. `system` lines are Flashpods' own: pulls, truncation. */
export type LogLine = LogRecord;

export interface ImageAnswer {
  readonly name: string;
  readonly reference: string;
  readonly digest: string;
  readonly size_bytes: number;
  /** What was installed over it for the caller; servers of earlier versions say nothing. */
  readonly packages?: readonly string[];
  readonly summary: string | null;
  /** Versions of its main programs. */
  readonly programs: Readonly<Record<string, string>>;
  readonly shared: boolean;
  readonly hosts: readonly string[];
}

export interface ImageListAnswer {
  readonly images: readonly ImageAnswer[];
  /** Ours that no host has. */
  readonly buildable: readonly {
    readonly name: string;
    readonly summary: string;
    readonly programs: readonly string[];
  }[];
  readonly defaults: { readonly worker: string; readonly agent: string | null };
  /** Whether a job may ask for `root`; servers before 0.2 do not say. */
  readonly allows_root?: boolean;
}

export interface CacheAnswer {
  readonly name: string;
  readonly scope: string;
  readonly owner: string;
  readonly path: string;
  readonly size_bytes: number;
  readonly written_at: string;
  readonly written_by: string;
  readonly used_at: string;
  /** Jobs that found it. */
  readonly hits: number;
  readonly host: string;
}

export interface LogPage {
  readonly lines: readonly LogLine[];
  /** Byte at which the next read begins. */
  readonly nextOffset: number;
  /** Size of the log; more than `nextOffset` when there is more, or a line that has not ended yet. */
  readonly totalBytes: number;
  /** What the job itself printed; servers of earlier versions say the size of the log. */
  readonly printedBytes?: number;
}

/** One that was asked for by what is in it may be a match, or beside one. */
export type FoundLine = FoundRecord;

export interface LogSearchRequest {
  /** A regular expression of JavaScript. */
  readonly pattern: string;
  readonly ignoreCase?: boolean;
  /** Lines before and after each match. */
  readonly context?: number;
  /** Number of the first line that is looked at. */
  readonly line?: number;
}

export interface LogSearchPage extends LogPage {
  readonly lines: readonly FoundLine[];
  /** Go on at this line; null when the log was searched to its end. */
  readonly nextLine: number | null;
}

export interface TokenRequest {
  readonly name: string;
  readonly owner: string;
  readonly scopes: readonly string[];
  readonly expires_at?: string;
}

export interface TokenAnswer {
  readonly name: string;
  readonly owner: string;
  readonly scopes: readonly string[];
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly expired: boolean;
}

/** The only answer that holds the token itself. */
export interface CreatedToken extends TokenAnswer {
  readonly token: string;
}

export interface TenantAmounts<Amount> {
  readonly running_jobs: Amount;
  readonly cpus: Amount;
  readonly memory_gb: Amount;
  readonly queued_jobs: Amount;
  readonly kept_mb: Amount;
}

/** What an owner may have, and has. */
export interface TenantAnswer {
  readonly owner: string;
  readonly weight: number;
  /** Null: no limit. */
  readonly limits: TenantAmounts<number | null>;
  readonly used: TenantAmounts<number>;
  readonly overridden: boolean;
}

export interface TenantRequest {
  readonly weight?: number;
  /** Null: no limit; left out: the server's default. */
  readonly limits: Partial<TenantAmounts<number | null>>;
}
