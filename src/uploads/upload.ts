/** An upload: a directory tree that becomes `/work`. Times are milliseconds since the Unix epoch. */
export type UploadState = 'uploading' | 'finalized' | 'consumed' | 'expired';

export interface Upload {
  readonly id: string;
  readonly owner: string;
  readonly state: UploadState;
  readonly reusable: boolean;
  /** The job that attached it; null for a reusable one, which many jobs share. */
  readonly jobId: string | null;
  readonly sizeBytes: number | null;
  readonly fileCount: number | null;
  /** What of a limit in bytes it takes: at least 4 KiB for every entry. */
  readonly weightBytes: number | null;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly finalizedAt: number | null;
  readonly filesDeletedAt: number | null;
  /** The upload whose snapshot this one begins with. */
  readonly baseId: string | null;
}

/** Nothing may be done with it any longer, even before the sweep has been there. */
export const isPast = (upload: Upload): boolean =>
  (upload.state === 'uploading' || upload.state === 'finalized') &&
  upload.jobId === null &&
  upload.expiresAt <= Date.now();
