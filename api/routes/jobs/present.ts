import type { z } from 'zod';
import { answerFields, specFields } from '../../../src/jobs/description/answer.ts';
import { snakeKeys } from '../../../src/jobs/description/names.ts';
import type { ArtifactRecord, Job } from '../../../src/jobs/job.ts';
import type { Creation, JobCheck, JobPage } from '../../../src/jobs/service.ts';
import { type Collected, directoriesOf } from '../../../src/jobs/results.ts';
import { containerName } from '../../../src/ids.ts';
import { isTerminal, isWaiting } from '../../../src/jobs/states.ts';
import type { Wait } from '../../../src/jobs/wait.ts';
import { isoNs } from '../../../src/timing/nanoseconds.ts';
import { isoTime, isoTimeOrNull } from '../time.ts';
import {
  type artifactListSchema,
  type artifactSchema,
  type checkedJobSchema,
  type createdJobSchema,
  cursorAfter,
  type jobListSchema,
  type jobSchema,
} from './schema.ts';

/** Seconds with three decimals; clocks that were set back give 0. */
const seconds = (from: number, to: number): number => Math.max(0, to - from) / 1_000;

/** Of a job that has ended: where nothing was counted, why. */
function usageOf({ usage, status, startedAt }: Job): z.infer<typeof jobSchema>['usage'] {
  if (usage !== null) return snakeKeys(usage);
  if (!isTerminal(status)) return null;
  const reason = startedAt === null ? 'the job never ran' : 'its container was lost before anybody counted';
  const names = ['peak_memory_bytes', 'cpu_seconds', 'bytes_written', 'max_processes'] as const;
  const none = { peak_memory_bytes: null, cpu_seconds: null, bytes_written: null, max_processes: null };
  return { ...none, unknown: Object.fromEntries(names.map((name) => [name, reason])) };
}

/** @param alone false in a list, which leaves some fields out */
export function presentJob(
  job: Job,
  wait: Wait | null,
  now = Date.now(),
  alone = true,
): z.infer<typeof jobSchema> {
  const terminal = isTerminal(job.status);
  const ended = job.endedAt ?? job.completedAt ?? now;
  const ranSeconds = job.startedAt === null ? null : seconds(job.startedAt, terminal ? ended : now);
  const waitedUntil = isWaiting(job.status) ? now : (job.startingAt ?? job.completedAt ?? now);
  return {
    id: job.id,
    owner: job.owner,
    ...answerFields(job, alone),
    status: job.status,
    image_digest: job.imageDigest,
    ran_by: job.ranBy,
    queue_position: wait?.position ?? null,
    waiting_reason: isWaiting(job.status) ? (wait?.reason ?? job.waitingReason) : null,
    latest_start: isoTimeOrNull(wait?.latestStart ?? null),
    estimated_start: isoTimeOrNull(wait?.latestStart ?? null),
    host: job.host,
    epoch: job.epoch,
    container: job.host === null ? null : containerName(job.id, job.epoch),
    cancel_requested: job.cancelRequestedAt !== null,
    ending_reason: job.endingReason,
    exit_code: job.exitCode,
    error: job.error,
    error_code: job.errorCode,
    error_message: job.errorMessage,
    usage: usageOf(job),
    created_at: isoTime(job.createdAt),
    queued_at: isoTimeOrNull(job.queuedAt),
    starting_at: isoTimeOrNull(job.startingAt),
    started_at: isoTimeOrNull(job.startedAt),
    ended_at: isoTimeOrNull(job.endedAt),
    completed_at: isoTimeOrNull(job.completedAt),
    queue_seconds: seconds(job.queuedAt ?? job.createdAt, waitedUntil),
    ...(terminal ? { duration_seconds: ranSeconds } : { elapsed_seconds: ranSeconds }),
    ...(job.endingReason === 'timeout' && terminal ? { actual_runtime_seconds: ranSeconds } : {}),
    log_truncated: job.logTruncated,
    notes: [...job.notes],
    warnings: [...job.warnings],
    artifact_warnings: [...job.artifactWarnings],
    ...(alone ? { error_lines: [...job.errorLines] } : {}),
  };
}

export const presentJobList = ({ jobs, total, nextBefore }: JobPage): z.infer<typeof jobListSchema> => ({
  jobs: jobs.map(({ job, wait }) => presentJob(job, wait, Date.now(), false)),
  total,
  next_cursor: nextBefore === null ? null : cursorAfter(nextBefore),
});

export const presentCheck = ({ spec, notes }: JobCheck): z.infer<typeof checkedJobSchema> => ({
  ...specFields(spec),
  ...(notes.length > 0 ? { notes: [...notes] } : {}),
});

export const presentCreated = (
  { job, created }: Creation,
  wait: Wait | null,
): z.infer<typeof createdJobSchema> => ({
  job_id: job.id,
  status: job.status,
  created,
  ...(created ? {} : { message: 'Existing job returned (idempotent)' }),
  cpus: job.cpus,
  memory_gb: job.memoryGb,
  timeout_minutes: job.timeoutMinutes,
  queue_position: wait?.position ?? null,
  waiting_reason: wait?.reason ?? null,
  latest_start: isoTimeOrNull(wait?.latestStart ?? null),
  estimated_start: isoTimeOrNull(wait?.latestStart ?? null),
  ...(job.notes.length > 0 ? { notes: [...job.notes] } : {}),
});

export const presentArtifact = (artifact: ArtifactRecord): z.infer<typeof artifactSchema> => ({
  name: artifact.name,
  type: artifact.type === 'symlink' || artifact.type === 'directory' ? artifact.type : 'file',
  size_bytes: artifact.sizeBytes,
  sha256: artifact.sha256,
  ...metadataOf(artifact),
  ...(typeof artifact.linkTarget === 'string' ? { link_target: artifact.linkTarget } : {}),
  ...(typeof artifact.leadsTo === 'string' ? { leads_to: artifact.leadsTo } : {}),
  created_at: isoTime(artifact.createdAt),
});

const metadataOf = ({ mode, mtimeNs }: ArtifactRecord): { mode: string | null; mtime: string | null } => ({
  mode: modeText(mode),
  mtime: typeof mtimeNs !== 'string' ? null : isoNs(BigInt(mtimeNs)),
});

/** `0755` */
const modeText = (mode: number | null | undefined): string | null =>
  typeof mode !== 'number' ? null : mode.toString(8).padStart(4, '0');

/** @param page which of them one answer shows */
export function presentArtifacts(
  { job, artifacts, parents, expiresAt }: Collected,
  page: { readonly from: number; readonly limit: number } = { from: 0, limit: Infinity },
): z.infer<typeof artifactListSchema> {
  const end = page.from + page.limit;
  const shown = artifacts.slice(page.from, end);
  const holding = new Set(shown.flatMap(({ name }) => directoriesOf(name)));
  return {
    artifacts: shown.map(presentArtifact),
    directories: parents
      .filter(({ name }) => holding.has(name))
      .map((directory) => ({ name: directory.name, ...metadataOf(directory) })),
    total: artifacts.length,
    total_size_bytes: artifacts.reduce(
      (sum, { type, sizeBytes }) => sum + (type === 'symlink' ? 0 : sizeBytes),
      0,
    ),
    next_cursor: end < artifacts.length ? cursorAfter(end) : null,
    complete: job.artifactWarnings.length === 0,
    warnings: [...job.artifactWarnings],
    expires_at: isoTimeOrNull(expiresAt),
    copy_in_progress: false,
  };
}
