/** What tools need of Flashpods, however they reach it. */
import type { Readable } from 'node:stream';
import type {
  ArtifactAnswer,
  ArtifactList,
  CreatedJob,
  JobAnswer,
  JobList,
  LogPage,
} from '../client/answers.ts';
import type { JobRequest } from '../jobs/description/types.ts';
import type { ListFilter, LogStart } from '../client/client.ts';
import type { DirectoryOptions } from '../client/upload/directory.ts';

/**
 * Calls on behalf of one caller. Each throws what the API would answer (a {@link FlashpodsError}, or a
 * {@link ClientError} with the same code), or the reason of its signal.
 */
export interface Backend {
  /** One job comes of the same `client_job_id`, however often it is asked for. */
  createJob(request: JobRequest): Promise<CreatedJob>;
  /** With `waitSeconds` (1–60) the answer comes when the job's state changes, or after that time. */
  getJob(
    id: string,
    options?: { readonly waitSeconds?: number; readonly signal?: AbortSignal | undefined },
  ): Promise<JobAnswer>;
  listJobs(filter: ListFilter, signal?: AbortSignal): Promise<JobList>;
  cancelJob(id: string, signal?: AbortSignal): Promise<void>;
  rerunJob(id: string, signal?: AbortSignal): Promise<CreatedJob>;
  /** @returns null as long as nothing has been captured for the job */
  log(id: string, start: LogStart, signal?: AbortSignal): Promise<LogPage | null>;
  artifacts(id: string, signal?: AbortSignal): Promise<ArtifactList>;
  /** The artifact's bytes, unread; destroy it. */
  openArtifact(id: string, name: string, signal?: AbortSignal): Promise<Readable>;
  close(): void;
}

/** The disk of the person whose agent this is. There is none over HTTP. */
export interface LocalFiles {
  /** @returns the id of a finalized upload */
  send(directory: string, options: DirectoryOptions): Promise<string>;
  /** Writes an artifact to a file, whole and checked. */
  save(
    jobId: string,
    artifact: ArtifactAnswer,
    target: string,
    options: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<void>;
}
