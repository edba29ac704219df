/** What an owner of jobs is entitled to. Tokens name the owners; nobody has to be entered first. */
import { FlashpodsError } from '../errors.ts';
import { type Amount, inApiUnits } from '../jobs/amount.ts';

/** Null: no limit. */
export interface TenantLimits {
  /** Jobs that hold resources, starting ones too. */
  readonly runningJobs: number | null;
  /** What they hold together. */
  readonly cpus: number | null;
  readonly memoryGb: number | null;
  readonly queuedJobs: number | null;
  /** Of artifacts that jobs asked to keep longer than the server does, MB. */
  readonly keptMb: number | null;
}

/** In force. */
export interface Tenant {
  readonly owner: string;
  /** Its part of the farm beside the other owners that want some, relative to theirs. */
  readonly weight: number;
  readonly limits: TenantLimits;
}

/** What an admin has set for one owner. A limit that is left out is the default of the settings. */
export interface TenantOverride {
  readonly owner: string;
  readonly weight: number;
  readonly limits: Partial<TenantLimits>;
}

/** Implemented by `src/database/tenant-store.ts`. */
export interface TenantStore {
  /** By owner. */
  list(): Promise<TenantOverride[]>;
  /** Replaces what was set for the owner. */
  set(override: TenantOverride, by: string): Promise<void>;
  /** @returns false when nothing was set */
  remove(owner: string): Promise<boolean>;
}

export const DIMENSIONS = ['running_jobs', 'cpus', 'memory_gb', 'queued_jobs', 'kept_mb'] as const;
export type Dimension = (typeof DIMENSIONS)[number];

const ADVICE: Readonly<Record<Dimension, string>> = {
  running_jobs:
    'Wait for one of your jobs to end, let this one wait with `"when_busy": "queue"`, or ask an admin for more.',
  cpus: 'Ask for fewer, wait for some of your jobs to end, or ask an admin for more.',
  memory_gb: 'Ask for less, wait for some of your jobs to end, or ask an admin for more.',
  kept_mb: 'Leave out `keep_hours`, wait until some of what you keep expires, or ask an admin for more.',
  queued_jobs: 'Wait for some of your jobs to start, cancel some, or ask an admin for more.',
};
const WORDS: Readonly<Record<Dimension, string>> = {
  running_jobs: 'running jobs',
  cpus: 'cpus',
  memory_gb: 'GB of memory',
  queued_jobs: 'queued jobs',
  kept_mb: 'MB of kept artifacts',
};

export function quotaExceeded(
  dimension: Dimension,
  amounts: { readonly limit: number; readonly used: number; readonly requested: number },
): FlashpodsError {
  const { limit, used, requested } = amounts;
  return new FlashpodsError(
    'quota_exceeded',
    `You may have ${limit} ${WORDS[dimension]}; ${used} are in use, and this job asks for ${requested}. ${ADVICE[dimension]}`,
    { details: { dimension, limit, used, requested } },
  );
}

/** @throws FlashpodsError quota_exceeded for the first dimension in which `wanted` goes beyond what is left */
export function refuseBeyond(
  limits: TenantLimits,
  used: Amount & { readonly jobs: number },
  wanted: Amount,
): void {
  const [held, asked] = [inApiUnits(used), inApiUnits(wanted)];
  const dimensions = [
    ['running_jobs', limits.runningJobs, used.jobs, 1],
    ['cpus', limits.cpus, held.cpus, asked.cpus],
    ['memory_gb', limits.memoryGb, held.memory_gb, asked.memory_gb],
  ] as const;
  for (const [dimension, limit, inUse, requested] of dimensions) {
    if (limit !== null && inUse + requested > limit)
      throw quotaExceeded(dimension, { limit, used: inUse, requested });
  }
}
