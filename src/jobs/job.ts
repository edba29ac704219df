import type { ErrorCode } from '../errors.ts';
import type { Usage } from '../containers/runtime.ts';
import type { JobSpec } from './description/types.ts';
import type { EndingReason, JobState } from './states.ts';

/** A job as the database knows it. */
export type Job = JobSpec & JobFacts;

/** What became of a job. Times are milliseconds since the Unix epoch. */
export interface JobFacts {
  readonly id: string;
  /** Grows with every job: the order among equals. A job that is put back keeps it. */
  readonly position: number;
  /** `createdAt`, but never before that of an earlier position: a clock that is set back changes nobody's turn. */
  readonly orderedAt: number;
  readonly owner: string;
  readonly clientJobId: string | null;
  /** SHA-256 of the canonical request, to tell a repeated creation from a reused key. */
  readonly requestHash: string;
  readonly status: JobState;
  readonly endingReason: EndingReason | null;
  readonly cancelRequestedAt: number | null;
  /** {@link errorCode}, or a sentence: how the command ended, or that the job ran too long. */
  readonly error: string | null;
  /** Always of the catalogue; null: the job has not ended, completed, or was cancelled. */
  readonly errorCode: ErrorCode | null;
  readonly errorMessage: string | null;
  readonly host: string | null;
  /** Number of the dispatch; every dispatch has its own, and only the newest may act. 0: never dispatched. */
  readonly epoch: number;
  /** What it may fill of its host's disk, MiB; null: it has no host, or one that does not bound its disk. */
  readonly diskMib: number | null;
  readonly imageDigest: string | null;
  /** What ran the command: `bash -o pipefail`, `sh`, or the first line of a script. Null: not started, or no command. */
  readonly ranBy: string | null;
  readonly exitCode: number | null;
  readonly usage: Usage | null;
  /** What of it is not as its caller may think: defaults and numbers that were lowered, an upload without files. */
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  readonly artifactWarnings: readonly string[];
  /** Lines of the log that look like an error, `LINE: text`; a guess, also of a command that ended with 0. */
  readonly errorLines: readonly string[];
  readonly logTruncated: boolean;
  readonly waitingReason: string | null;
  readonly createdAt: number;
  readonly queuedAt: number | null;
  readonly startingAt: number | null;
  readonly startedAt: number | null;
  /** When the container had ended; from then until `completedAt` its artifacts are being collected. */
  readonly endedAt: number | null;
  readonly completedAt: number | null;
  /** Until when its artifacts are kept because it asked for it; null: as long as all. */
  readonly keptUntil: number | null;
  /** Of its artifacts, towards what its owner may keep; null: they are not kept longer. */
  readonly keptBytes: number | null;
  readonly logsDeletedAt: number | null;
  readonly artifactsDeletedAt: number | null;
}

/** Something that a job left, or a directory that holds such things. */
export interface ArtifactRecord {
  readonly name: string;
  /** Left out: a file. `directory` is an empty one, `parent` one that holds artifacts and is none itself. */
  readonly type?: 'file' | 'symlink' | 'directory' | 'parent';
  /** Of a symlink: of the file that it leads to. 0 where there are no bytes. */
  readonly sizeBytes: number;
  /** Of a symlink: of the file that it leads to. Null where there are no bytes. */
  readonly sha256: string | null;
  /** Permissions of user, group and others; null: nobody looked. */
  readonly mode?: number | null;
  /** Whole nanoseconds since the Unix epoch, in decimal: more than a number holds. Null: nobody looked. */
  readonly mtimeNs?: string | null;
  /** Of a symlink. */
  readonly linkTarget?: string | null;
  /** Of a symlink: name of the artifact with its bytes, if it leads to one. */
  readonly leadsTo?: string | null;
  readonly createdAt: number;
}
