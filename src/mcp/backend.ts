/** What tools need of Flashpods, however they reach it. */
import type { Readable } from 'node:stream';
import type { ArtifactAnswer } from '../client/answers.ts';
import type { ClientError } from '../client/client-error.ts';
import type { ArtifactsToFetch, FetchOptions } from '../client/fetch-artifacts.ts';
import type { FlashpodsClient } from '../client/client.ts';
import type { DirectoryOptions } from '../client/upload/directory.ts';
import type { Fence } from './client-roots.ts';

/**
 * Calls on behalf of one caller. Each throws what the API would answer (a {@link FlashpodsError}, or a
 * {@link ClientError} with the same code), or the reason of its signal.
 */
export interface Backend extends Pick<
  FlashpodsClient,
  | 'createJob'
  | 'checkJob'
  | 'getJob'
  | 'listJobs'
  | 'cancelJob'
  | 'rerunJob'
  | 'log'
  | 'searchLog'
  | 'artifacts'
  | 'images'
  | 'close'
> {
  /** The artifact's bytes, unread; destroy it. */
  openArtifact(id: string, name: string, signal?: AbortSignal): Promise<Readable>;
}

/** The disk of the person whose agent this is. There is none over HTTP. */
export interface LocalFiles {
  /** What of it may be read and written. */
  readonly fence: Fence;
  /** @returns the id of a finalized upload */
  send(directory: string, options: DirectoryOptions): Promise<string>;
  /** Writes artifacts below a directory, each whole and checked. @returns paths, and what could not be written */
  saveTree(
    jobId: string,
    wanted: ArtifactsToFetch,
    directory: string,
    options: FetchOptions,
  ): Promise<{ readonly saved: readonly string[]; readonly failed: readonly ClientError[] }>;
  /** Writes what a job printed to a new file, whole or not at all. @returns its bytes */
  saveLog(
    jobId: string,
    target: string,
    options: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<number>;
  /** Writes an artifact to a file, whole and checked. */
  save(
    jobId: string,
    artifact: ArtifactAnswer,
    target: string,
    options: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<void>;
}
