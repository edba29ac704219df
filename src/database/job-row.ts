/** Translates between a row of `jobs` and a {@link Job}. */
import type { Usage } from '../containers/runtime.ts';
import type { Job, JobType, Network } from '../jobs/job.ts';
import type { EndingReason, JobState } from '../jobs/states.ts';
import type { JobPatch, NewJob } from '../jobs/store.ts';

export interface JobRow {
  position: number;
  id: string;
  owner: string;
  client_job_id: string | null;
  idempotency_key: string | null;
  request_hash: string;
  type: JobType;
  command: string | null;
  task: string | null;
  context: string | null;
  git_branch: string | null;
  git_url: string | null;
  files_id: string | null;
  image: string;
  image_digest: string | null;
  cpus: number;
  memory_gb: number;
  timeout_minutes: number;
  env: string;
  network: Network;
  priority: number;
  when_busy: 'queue' | 'reject';
  max_queue_seconds: number | null;
  labels: string;
  status: JobState;
  ending_reason: EndingReason | null;
  cancel_requested_at: number | null;
  error: string | null;
  error_message: string | null;
  host: string | null;
  epoch: number;
  exit_code: number | null;
  usage: string | null;
  warnings: string;
  artifact_warnings: string;
  log_truncated: number;
  waiting_reason: string | null;
  created_at: number;
  ordered_at: number | null;
  queued_at: number | null;
  starting_at: number | null;
  started_at: number | null;
  ended_at: number | null;
  completed_at: number | null;
  logs_deleted_at: number | null;
  artifacts_deleted_at: number | null;
  events: number;
}

export function toJob(row: JobRow): Job {
  return {
    position: row.position,
    id: row.id,
    orderedAt: row.ordered_at ?? row.created_at,
    owner: row.owner,
    clientJobId: row.client_job_id,
    requestHash: row.request_hash,
    type: row.type,
    command: row.command,
    task: row.task,
    context: row.context,
    gitBranch: row.git_branch,
    gitUrl: row.git_url,
    filesId: row.files_id,
    image: row.image,
    imageDigest: row.image_digest,
    cpus: row.cpus,
    memoryGb: row.memory_gb,
    timeoutMinutes: row.timeout_minutes,
    env: JSON.parse(row.env) as Record<string, string>,
    network: row.network,
    priority: row.priority,
    whenBusy: row.when_busy,
    maxQueueSeconds: row.max_queue_seconds,
    labels: JSON.parse(row.labels) as Record<string, string>,
    status: row.status,
    endingReason: row.ending_reason,
    cancelRequestedAt: row.cancel_requested_at,
    error: row.error,
    errorMessage: row.error_message,
    host: row.host,
    epoch: row.epoch,
    exitCode: row.exit_code,
    usage: row.usage === null ? null : (JSON.parse(row.usage) as Usage),
    warnings: JSON.parse(row.warnings) as string[],
    artifactWarnings: JSON.parse(row.artifact_warnings) as string[],
    logTruncated: row.log_truncated !== 0,
    waitingReason: row.waiting_reason,
    createdAt: row.created_at,
    queuedAt: row.queued_at,
    startingAt: row.starting_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    completedAt: row.completed_at,
    logsDeletedAt: row.logs_deleted_at,
    artifactsDeletedAt: row.artifacts_deleted_at,
  };
}

export function newRow(job: NewJob, createdAt: number): Partial<JobRow> {
  return {
    id: job.id,
    owner: job.owner,
    client_job_id: job.clientJobId,
    idempotency_key: job.clientJobId,
    request_hash: job.requestHash,
    type: job.type,
    command: job.command,
    task: job.task,
    context: job.context,
    git_branch: job.gitBranch,
    git_url: job.gitUrl,
    files_id: job.filesId,
    image: job.image,
    cpus: job.cpus,
    memory_gb: job.memoryGb,
    timeout_minutes: job.timeoutMinutes,
    env: JSON.stringify(job.env),
    network: job.network,
    priority: job.priority,
    when_busy: job.whenBusy,
    max_queue_seconds: job.maxQueueSeconds,
    labels: JSON.stringify(job.labels),
    status: 'pending',
    created_at: createdAt,
    ordered_at: createdAt,
    events: 1,
  };
}

const COLUMNS: { readonly [K in keyof Required<JobPatch>]: keyof JobRow } = {
  error: 'error',
  errorMessage: 'error_message',
  host: 'host',
  epoch: 'epoch',
  imageDigest: 'image_digest',
  exitCode: 'exit_code',
  usage: 'usage',
  warnings: 'warnings',
  artifactWarnings: 'artifact_warnings',
  logTruncated: 'log_truncated',
  waitingReason: 'waiting_reason',
  queuedAt: 'queued_at',
  startingAt: 'starting_at',
  startedAt: 'started_at',
  endedAt: 'ended_at',
  completedAt: 'completed_at',
  logsDeletedAt: 'logs_deleted_at',
  artifactsDeletedAt: 'artifacts_deleted_at',
};

export function patchColumns(patch: JobPatch): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(patch).map(([key, value]) => [
      COLUMNS[key as keyof JobPatch],
      typeof value === 'boolean'
        ? Number(value)
        : typeof value === 'object' && value !== null
          ? JSON.stringify(value)
          : value,
    ]),
  );
}
