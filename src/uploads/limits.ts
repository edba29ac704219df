import type { Config } from '../config.ts';

/** Entries of one upload: each takes an inode. */
export const MAX_FILES = 500_000;

export interface UploadLimits {
  /** One upload, bytes of its files. */
  readonly oneBytes: number;
  /** All uploads together. */
  readonly totalBytes: number;
  /** Life of an upload that is not finalized, and of a finalized one that no job names. */
  readonly openMs: number;
  readonly unusedMs: number;
  /** A stream that brings nothing for this time is given up. */
  readonly idleMs: number;
}

const MB = 1024 * 1024;

export const uploadLimits = (
  config: Pick<Config, 'uploadMaxMb' | 'uploadsTotalMb' | 'uploadOpenMinutes' | 'uploadUnusedMinutes'>,
): UploadLimits => ({
  oneBytes: config.uploadMaxMb * MB,
  totalBytes: config.uploadsTotalMb * MB,
  openMs: config.uploadOpenMinutes * 60_000,
  unusedMs: config.uploadUnusedMinutes * 60_000,
  idleMs: 60_000,
});
