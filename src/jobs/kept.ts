/** How long what a job left is kept: as long as the settings say, or longer where the job asked for it (`keep_hours`). */
import type { Job } from './job.ts';

const HOUR_MS = 3_600_000;

/** Whole MB, rounded up. */
export const toMb = (bytes: number): number => Math.ceil(bytes / 2 ** 20);

type Ended = Pick<Job, 'completedAt' | 'createdAt'>;

const endOf = ({ completedAt, createdAt }: Ended): number => completedAt ?? createdAt;

/** When a job's artifacts are deleted, milliseconds since the Unix epoch. @param usualHours of all jobs */
export const artifactsExpireAt = (job: Ended & Pick<Job, 'keptUntil'>, usualHours: number): number =>
  Math.max(endOf(job) + usualHours * HOUR_MS, job.keptUntil ?? 0);

/** When a job's log is deleted; earlier when all logs together have no room. */
export const logExpiresAt = (job: Ended & Pick<Job, 'keepHours'>, usualHours: number): number =>
  endOf(job) + Math.max(usualHours, job.keepHours ?? 0) * HOUR_MS;

export interface Kept {
  readonly keptUntil: number;
  readonly keptBytes: number;
}

/**
 * What becomes of a job's wish when it has ended.
 * @param keptBytes of the owner's other jobs
 * @param limitMb what the owner may keep; null: no limit
 * @returns what is kept, or why it is not
 */
export function keepResults(
  {
    keepHours,
    completedAt,
    artifactBytes,
  }: { keepHours: number; completedAt: number; artifactBytes: number },
  keptBytes: number,
  limitMb: number | null,
): Kept | string {
  if (limitMb === null || artifactBytes === 0 || keptBytes + artifactBytes <= limitMb * 2 ** 20)
    return { keptUntil: completedAt + keepHours * HOUR_MS, keptBytes: artifactBytes };
  return `The artifacts are kept as long as those of other jobs, and not for ${keepHours} hours: they have ${toMb(artifactBytes)} MB, and of the ${limitMb} MB that their owner may keep ${toMb(keptBytes)} MB are in use.`;
}
