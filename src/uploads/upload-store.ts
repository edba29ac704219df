import type { Upload } from './upload.ts';

/** The rows of uploads. A job attaches an upload in the transaction of its own row, since both must hold or neither. */
export interface UploadStore {
  /**
   * @param most how many may take files, this one among them
   * @throws FlashpodsError invalid_request when the id exists already, too_many_open
   */
  create(
    upload: { id: string; owner: string; expiresAt: number; baseId?: string | null },
    most?: { readonly ofOwner: number; readonly inAll: number },
  ): Promise<Upload>;
  get(id: string): Promise<Upload | null>;
  /**
   * An upload that takes files lives on until `expiresAt`, or for as long as it did before if that is later.
   * @returns false when it takes no files any longer, or its time was over
   */
  prolong(id: string, expiresAt: number): Promise<boolean>;
  /** uploading → finalized; null when it was not `uploading`. */
  finalize(
    id: string,
    facts: {
      sizeBytes: number;
      fileCount: number;
      /** Of all of its tree, and of what it does not share with its base; without them, of its files. */
      weightBytes?: number;
      newBytes?: number;
      expiresAt: number;
      reusable: boolean;
    },
  ): Promise<Upload | null>;
  /** uploading, or finalized and not attached → expired; false when a job has it or it is gone. */
  expire(id: string): Promise<boolean>;
  /**
   * Uploads whose files can go: expired, or past their time and of no job, or of one that is terminal; not those that
   * an open upload begins with.
   */
  disposable(now: number, limit: number): Promise<Upload[]>;
  /**
   * Ids of uploads that are kept only so that their job can be made once more, those that go first in front.
   * @param owner null: of all
   */
  keptForReruns(limit: number, owner?: string | null): Promise<string[]>;
  /**
   * The files of an upload whose job has run are to go: from here on no job can have them. False while a job or an
   * open upload needs them.
   */
  retire(id: string): Promise<boolean>;
  /** Whether an upload that still takes files begins with this one. */
  isBase(id: string, now: number): Promise<boolean>;
  markFilesDeleted(id: string): Promise<void>;
  /**
   * What the snapshots that are still there take of the limits: each without what it shares with its base, as long as
   * that is there.
   * @param owner left out: of all
   */
  storedBytes(owner?: string): Promise<number>;
  /** Owners of the uploads whose files are still there, by upload. */
  ownersOfStored(): Promise<Map<string, string>>;
}
