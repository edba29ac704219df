/**
 * Artifacts of jobs, wherever they are kept. Nothing here says that the host of a job and the reader of its artifacts
 * share a disk: they are collected on the host, and read as streams by the job's id and their names.
 */
import type { Readable } from 'node:stream';
import type { Manifest } from './manifest.ts';

export interface ArtifactStore {
  /**
   * Stores what a job left: every regular file under its name, symlinks that lead nowhere outside, empty directories,
   * each with mode and time; the rest, and what exceeds a limit, is left out with a warning. The result does not depend on the order of the file system.
   * The collection appears at once and whole: after a crash in the middle a call begins anew, and after the end it
   * answers what was collected then, even if the source is gone.
   * @throws FlashpodsError artifact_copy_disk_full, artifact_copy_permission, artifact_copy_container_gone,
   *   artifact_copy_failed; the reason of `signal` when it is aborted
   */
  collect(jobId: string, request: CollectRequest): Promise<Manifest>;
  /** What lies there will be collected soon: what takes a moment to begin may begin. */
  expect?(source: string): Promise<void>;
  /**
   * Opens one artifact for reading. @returns null when there is none of that name
   * @throws FlashpodsError invalid_artifact_name
   */
  open(jobId: string, name: string): Promise<OpenArtifact | null>;
  /** The jobs of which artifacts are stored, whole or half collected, in no order. */
  list(): Promise<readonly StoredArtifacts[]>;
  /** Deletes all that is stored of a job's artifacts. To delete what is not there is no error. */
  delete(jobId: string): Promise<void>;
}

export interface ArtifactLimits {
  readonly maxFileBytes: number;
  readonly maxTotalBytes: number;
  /** Symlinks and empty directories counted. */
  readonly maxFiles: number;
}

export interface CollectRequest {
  /** What the job sees as `/artifacts`, on this host. Hostile, but nothing of the job runs any longer. */
  readonly source: string;
  /** What the job saw as `/work`, and the globs of what is to be kept of it. As hostile. */
  readonly work?: { readonly source: string; readonly patterns: readonly string[] } | undefined;
  readonly limits: ArtifactLimits;
  readonly signal?: AbortSignal | undefined;
}

/** An artifact that is open. It is read once, by `read`, or closed by `close`. */
export interface OpenArtifact {
  readonly sizeBytes: number;
  /** Its bytes, or those from `first` to `last`, both included. When the stream ends or is destroyed all is closed. */
  read(range?: { readonly first: number; readonly last: number }): Readable;
  close(): Promise<void>;
}

export interface StoredArtifacts {
  readonly jobId: string;
  /** When the collection was last changed, milliseconds since the Unix epoch. */
  readonly changedAt: number;
}
