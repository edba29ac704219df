/** An upload: a directory tree that becomes `/work`. Times are milliseconds since the Unix epoch. */
export type UploadState = 'uploading' | 'finalized' | 'consumed' | 'expired';

export interface Upload {
  readonly id: string;
  readonly owner: string;
  readonly state: UploadState;
  readonly reusable: boolean;
  /** The job that claimed it; null for a reusable one, which many jobs share. */
  readonly jobId: string | null;
  readonly sizeBytes: number | null;
  readonly fileCount: number | null;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly finalizedAt: number | null;
  readonly filesDeletedAt: number | null;
  /** The upload whose snapshot this one begins with. */
  readonly baseId: string | null;
}

/**
 * What the upload service needs of the database. A job claims, consumes and gives up its upload in the
 * transactions of its own row (`JobStore`), since both must hold or neither.
 */
export interface UploadStore {
  /** @throws FlashpodsError invalid_request when the id exists already */
  create(upload: { id: string; owner: string; expiresAt: number; baseId?: string | null }): Promise<Upload>;
  get(id: string): Promise<Upload | null>;
  /** uploading → finalized; null when it was not `uploading`. */
  finalize(
    id: string,
    facts: { sizeBytes: number; fileCount: number; expiresAt: number; reusable: boolean },
  ): Promise<Upload | null>;
  /** uploading or unclaimed finalized → expired; false when a job has it or it is gone. */
  expire(id: string): Promise<boolean>;
  /**
   * Uploads whose files can go: past their time and unclaimed, or expired, or of a job that is terminal; not those
   * that an open upload begins with.
   */
  disposable(now: number, limit: number): Promise<Upload[]>;
  /** Whether an upload that still takes files begins with this one. */
  isBase(id: string, now: number): Promise<boolean>;
  markFilesDeleted(id: string): Promise<void>;
  /** Sum of the bytes of all uploads whose files are still there. */
  storedBytes(): Promise<number>;
  knownIds(): Promise<Set<string>>;
}
