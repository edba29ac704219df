/**
 * The one catalogue of errors. `docs/errors.md` is checked against it in both directions.
 * What a user can cause is a {@link FlashpodsError}; what a programmer caused is a plain `Error`.
 */

interface CatalogueEntry {
  /** HTTP status; 0 for codes that only ever stand in a job's `error`. */
  readonly status: number;
  readonly retryable: boolean;
  /** What it means, one sentence. */
  readonly meaning: string;
  /** What to do next, one sentence. */
  readonly advice: string;
}

const entry = (status: number, retryable: boolean, meaning: string, advice: string): CatalogueEntry => ({
  status,
  retryable,
  meaning,
  advice,
});

export const ERRORS = {
  missing_authorization: entry(
    401,
    false,
    'The request carries no Authorization header.',
    'Send `Authorization: Bearer <token>`; `flashpods up` prints where its token is kept.',
  ),
  malformed_authorization: entry(
    401,
    false,
    'The Authorization header is not `Bearer <token>`.',
    'Send `Authorization: Bearer <token>`.',
  ),
  invalid_token: entry(
    401,
    false,
    'The token is not known here.',
    'Check FLASHPODS_API_TOKEN against the token of this server.',
  ),
  insufficient_scope: entry(
    403,
    false,
    'The token may not do this.',
    'Use a token with the scope that the message names.',
  ),
  rate_limited: entry(
    429,
    true,
    'Too many requests for this token.',
    'Wait for `Retry-After` seconds and send the request again.',
  ),

  invalid_request: entry(
    400,
    false,
    'A field is missing, unknown or wrong.',
    'Correct the field that the message names.',
  ),
  invalid_job_type: entry(400, false, '`type` is neither `worker` nor `agent`.', 'Send `"type": "worker"`.'),
  missing_command: entry(
    400,
    false,
    'A worker job needs a `command`.',
    'Send the shell command to run as `command`.',
  ),
  missing_task: entry(400, false, 'An agent job needs a `task`.', 'Send what the agent is to do as `task`.'),
  missing_git_branch: entry(
    400,
    false,
    'An agent job needs a `git_branch`.',
    'Send the branch to work on as `git_branch`.',
  ),
  invalid_client_job_id: entry(
    400,
    false,
    '`client_job_id` is not a UUID v4.',
    'Send a UUID v4 of 36 characters, or leave the field out.',
  ),
  invalid_image: entry(
    400,
    false,
    '`image` is not an image reference.',
    'Send a name such as `ubuntu:22.04`, at most 255 characters.',
  ),
  invalid_cpus: entry(400, false, '`cpus` is not an integer of at least 1.', 'Send a whole number of cpus.'),
  invalid_memory: entry(
    400,
    false,
    '`memory_gb` is not an integer of at least 1.',
    'Send a whole number of gigabytes.',
  ),
  invalid_timeout: entry(
    400,
    false,
    '`timeout_minutes` is not an integer of at least 1.',
    'Send a whole number of minutes.',
  ),
  invalid_artifact_name: entry(
    400,
    false,
    'The artifact name has an empty, dotted, overlong or otherwise unsafe segment.',
    'Use a name as the list of artifacts gives it.',
  ),

  job_not_found: entry(404, false, 'There is no such job.', 'List the jobs with `GET /jobs`.'),
  host_not_found: entry(404, false, 'There is no such host.', 'List the hosts with `GET /capacity`.'),
  upload_not_found: entry(404, false, 'There is no such upload.', 'Create an upload with `POST /uploads`.'),
  artifact_not_found: entry(
    404,
    false,
    'The job left no artifact of that name.',
    'List them with `GET /jobs/:id/artifacts`.',
  ),
  artifacts_not_available: entry(
    404,
    true,
    'The job has not ended, so its artifacts are not collected yet.',
    'Wait with `GET /jobs/:id?wait=60` and ask again.',
  ),
  logs_not_available: entry(
    404,
    true,
    'Nothing has been captured for this job yet.',
    'Wait with `GET /jobs/:id?wait=60` and ask again.',
  ),
  not_found: entry(
    404,
    false,
    'There is nothing at this path.',
    'Look the path up in the API documentation.',
  ),
  method_not_allowed: entry(
    405,
    false,
    'This path does not take this method.',
    'Use a method that the `Allow` header names.',
  ),
  payload_too_large: entry(
    413,
    false,
    'The body is larger than 1 MB.',
    'Send files as an upload, not in the request.',
  ),
  unsupported_media_type: entry(
    415,
    false,
    'The body has a Content-Type that is not taken here.',
    'Send `application/json`, or `application/x-tar` for the files of an upload.',
  ),

  host_in_use: entry(
    409,
    false,
    'The host lives, or its jobs are not over.',
    'End its worker, and wait until its jobs are over.',
  ),
  upload_not_finalized: entry(
    409,
    false,
    'The upload is not finalized yet.',
    'Call `POST /uploads/{id}/finalize` first.',
  ),
  upload_already_finalized: entry(
    409,
    false,
    'The upload is finalized and takes no more files.',
    'Create another upload.',
  ),
  upload_already_consumed: entry(409, false, 'The upload belongs to another job.', 'Create another upload.'),
  job_already_terminal: entry(409, false, 'The job has ended already.', 'Nothing is left to cancel.'),
  idempotency_key_reused: entry(
    409,
    false,
    'A different request came earlier with this `client_job_id`.',
    'Use a new `client_job_id` for a new request.',
  ),
  quota_exceeded: entry(
    409,
    false,
    'The owner is at a limit of its own.',
    'Wait for some of your jobs to end, or ask for a higher limit.',
  ),
  upload_expired: entry(410, false, 'The upload was not used in time and is gone.', 'Create another upload.'),
  logs_deleted: entry(410, false, 'The logs are past their retention and deleted.', 'Run the job again.'),
  artifacts_deleted: entry(
    410,
    false,
    'The artifacts are past their retention and deleted.',
    'Run the job again.',
  ),
  events_expired: entry(
    410,
    false,
    'The position is older than the events that are kept.',
    'Start again without `Last-Event-ID`.',
  ),
  unsatisfiable_resources: entry(
    422,
    false,
    'No host here could ever run a job of this size.',
    'Ask for no more than the largest host has; see `GET /capacity`.',
  ),
  insufficient_resources: entry(
    429,
    true,
    'There is no room at the moment.',
    'Try later, or send `"when_busy": "queue"`.',
  ),
  insufficient_storage: entry(
    507,
    false,
    'A limit on stored bytes is reached.',
    'Send less, or free space on the server.',
  ),

  internal_error: entry(
    500,
    true,
    'Something went wrong on our side.',
    'Try again; look up the request id in the server log.',
  ),
  database_error: entry(500, true, 'The database did not answer.', 'Try again; see `GET /health`.'),
  container_error: entry(500, true, 'Podman did not answer.', 'Try again; see `GET /health`.'),
  service_unavailable: entry(503, true, 'A part of the service is away.', 'Try again; see `GET /health`.'),
  copy_in_progress: entry(
    503,
    true,
    'The container has ended and its artifacts are being collected.',
    'Ask again in a moment.',
  ),

  oom_killed: entry(
    0,
    false,
    'The job used more memory than it asked for and was killed by the kernel.',
    'Run it again with a higher `memory_gb`.',
  ),
  image_pull_failed: entry(
    0,
    false,
    'The image is not on the host and could not be pulled.',
    'Check the name; the log holds what the registry said.',
  ),
  container_start_failed: entry(
    0,
    false,
    'The container could not be created or started.',
    'The log holds what Podman said; `flashpods doctor` checks the host.',
  ),
  container_lost_on_recovery: entry(
    0,
    false,
    'The container was gone when its worker came back.',
    'The host rebooted or somebody removed it; run the job again.',
  ),
  container_not_found_on_recovery: entry(
    0,
    false,
    'The container was created and is gone.',
    'Run the job again.',
  ),
  host_lost: entry(0, false, 'The host of the job did not come back.', 'Run the job again.'),
  queue_timeout: entry(
    0,
    false,
    'The job did not start within its `max_queue_seconds`.',
    'Allow it more time, or add a host.',
  ),
  disk_limit: entry(
    0,
    false,
    'The job filled the disk space that it may use.',
    'Write less, or raise the limit.',
  ),
  pids_limit: entry(0, false, 'The job reached its limit of processes.', 'Start fewer processes at once.'),
  artifact_copy_disk_full: entry(
    0,
    false,
    'The disk of the host was full while artifacts were collected.',
    'Free space on the host and run the job again.',
  ),
  artifact_copy_permission: entry(
    0,
    false,
    'The artifacts could not be read or written.',
    'Check the permissions of the artifact directory on the host.',
  ),
  artifact_copy_container_gone: entry(
    0,
    false,
    'The files of the job were gone before they could be collected.',
    'Run the job again.',
  ),
  artifact_copy_failed: entry(0, false, 'The artifacts could not be collected.', 'The message says why.'),
  artifact_copy_conflict: entry(0, false, 'Two artifacts claim the same name.', 'Give them different names.'),
  spire_attestation_timeout: entry(
    0,
    false,
    'The container got no identity in time.',
    'Check the identity service with `flashpods doctor`.',
  ),
  token_exchange_failed: entry(
    0,
    false,
    'The container could not exchange its identity for secrets.',
    'Check the policy and the audit log.',
  ),
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof ERRORS;

export const isErrorCode = (value: unknown): value is ErrorCode =>
  typeof value === 'string' && Object.hasOwn(ERRORS, value);

export interface FlashpodsErrorOptions {
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** An error that its user can act on. `message` is for a person and holds nothing internal. */
export class FlashpodsError extends Error {
  override readonly name = 'FlashpodsError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message?: string, options: FlashpodsErrorOptions = {}) {
    super(
      message ?? ERRORS[code].meaning,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.details = options.details ?? {};
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }

  get advice(): string {
    return ERRORS[this.code].advice;
  }
}

/** The system error code (`ENOENT`, `SQLITE_BUSY` …) of something thrown, if it has one. */
export const systemCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
