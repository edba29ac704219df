import type { Config } from '../config.ts';

export interface UploadLimits {
  /** One upload: bytes of its files, and at least 4 KiB for every entry. */
  readonly oneBytes: number;
  /** All uploads together. */
  readonly totalBytes: number;
  /** All uploads of one owner. Left out: half of all, or one of the largest size if that is more. */
  readonly ownerBytes?: number;
  /** Life of an upload that is not finalized, from the last byte that came, and in all. */
  readonly openMs: number;
  readonly openAtMostMs?: number;
  /** Life of a finalized one that no job names, and of one whose job has ended. */
  readonly unusedMs: number;
  /** Uploads that take files, of one owner and of all together; each costs room in memory and in the daemon's files. */
  readonly openPerOwner?: number;
  readonly openInAll?: number;
  /** A stream that brings nothing for this time is given up. */
  readonly idleMs: number;
}

/** Unless it is said otherwise. */
export const OPEN_PER_OWNER = 20;
export const OPEN_IN_ALL = 400;
/** At once: each is a process of its own. */
export const MAX_STREAMS = 16;
export const MAX_STREAMS_OF_OWNER = 4;

const MB = 1024 * 1024;
const AT_MOST_MS = 6 * 3_600_000;

/** When an upload is over whose last byte comes now. */
export const openUntil = (
  { createdAt }: { readonly createdAt: number },
  { openMs, openAtMostMs = AT_MOST_MS }: Pick<UploadLimits, 'openMs' | 'openAtMostMs'>,
): number => Math.min(Date.now() + openMs, createdAt + Math.max(openMs, openAtMostMs));

export const uploadLimits = (
  config: Pick<
    Config,
    | 'uploadMaxMb'
    | 'uploadsTotalMb'
    | 'uploadsOpenPerOwner'
    | 'uploadsOpen'
    | 'uploadsOwnerMb'
    | 'uploadOpenMinutes'
    | 'uploadOpenAtMostMinutes'
    | 'uploadUnusedMinutes'
  >,
): UploadLimits => ({
  oneBytes: config.uploadMaxMb * MB,
  totalBytes: config.uploadsTotalMb * MB,
  ...(config.uploadsOwnerMb === undefined ? {} : { ownerBytes: config.uploadsOwnerMb * MB }),
  openMs: config.uploadOpenMinutes * 60_000,
  openAtMostMs: config.uploadOpenAtMostMinutes * 60_000,
  unusedMs: config.uploadUnusedMinutes * 60_000,
  openPerOwner: config.uploadsOpenPerOwner,
  openInAll: config.uploadsOpen,
  idleMs: 60_000,
});
