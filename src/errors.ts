/**
 * The one catalogue of errors; long because it is one table. `docs/errors.md` is checked against it in both directions.
 * What a user can cause is a {@link FlashpodsError}; what a programmer caused is a plain `Error`.
 */

/** Where somebody reads what to do next: over HTTP, at the command line, or as an agent with tools. */
export type Face = 'api' | 'cli' | 'mcp';

/** Advice of faces that have an own one. */
type Elsewhere = Partial<Record<Exclude<Face, 'api'>, string>>;

interface CatalogueEntry {
  /** HTTP status; 0 for codes that only ever stand in a job's `error_code`. */
  readonly status: number;
  readonly retryable: boolean;
  /** What it means, one sentence. */
  readonly meaning: string;
  /** What to do next, one sentence. */
  readonly advice: string;
  /** Instead of `advice`, which speaks of the API. */
  readonly elsewhere: Elsewhere;
}

type Entry = (status: number, meaning: string, advice: string, elsewhere?: Elsewhere) => CatalogueEntry;

const entry =
  (retryable: boolean): Entry =>
  (status, meaning, advice, elsewhere = {}) => ({ status, retryable, meaning, advice, elsewhere });

/** The same request would be refused again. */
const refusal = entry(false);
/** The same request may succeed later. */
const passing = entry(true);
/** Why a job ended; never answers a request. */
const ending = (
  meaning: string,
  advice: string,
  elsewhere: CatalogueEntry['elsewhere'] = {},
): CatalogueEntry & { readonly status: 0 } => ({
  ...refusal(0, meaning, advice, elsewhere),
  status: 0,
});

export const ERRORS = {
  missing_authorization: refusal(
    401,
    'The request carries no Authorization header.',
    'Send `Authorization: Bearer <token>`; `flashpods up` prints where its token is kept.',
    {
      cli: 'Set FLASHPODS_API_TOKEN; `flashpods up` prints where the token is kept.',
      mcp: 'Ask the person to set FLASHPODS_API_TOKEN for this MCP server.',
    },
  ),
  malformed_authorization: refusal(
    401,
    'The Authorization header is not `Bearer <token>`.',
    'Send `Authorization: Bearer <token>`.',
    { mcp: 'Ask the person to check the token of this MCP server (FLASHPODS_API_TOKEN).' },
  ),
  invalid_token: refusal(
    401,
    'The token is not known here.',
    'Check FLASHPODS_API_TOKEN against the token of this server.',
    { mcp: 'Ask the person to check the token of this MCP server (FLASHPODS_API_TOKEN).' },
  ),
  insufficient_scope: refusal(
    403,
    'The token may not do this.',
    'Use a token with the scope that the message names.',
    { mcp: 'Ask the person for a token with the scope that the message names.' },
  ),
  rate_limited: passing(
    429,
    'Too many requests for this token.',
    'Wait for `Retry-After` seconds and send the request again.',
    { mcp: 'Wait a few seconds between calls; wait_for_job needs fewer of them than polling.' },
  ),

  too_many_open: passing(
    429,
    'Too many uploads, streams or waiting requests are open.',
    'End some that are open, or wait until some have ended, and send the request again.',
    { mcp: 'Wait for some of the calls that are under way, and call again.' },
  ),
  invalid_request: refusal(
    400,
    'A field is missing, unknown or wrong.',
    'Correct the field that the message names.',
    { mcp: 'Correct the arguments that the message names and call the tool again.' },
  ),
  invalid_job_type: refusal(400, '`type` is neither `worker` nor `agent`.', 'Send `"type": "worker"`.'),
  missing_command: refusal(
    400,
    'A worker job needs a `command`.',
    'Send the shell command to run as `command`.',
  ),
  missing_task: refusal(400, 'An agent job needs a `task`.', 'Send what the agent is to do as `task`.'),
  missing_git_branch: refusal(
    400,
    'An agent job needs a `git_branch`.',
    'Send the branch to work on as `git_branch`.',
  ),
  invalid_client_job_id: refusal(
    400,
    '`client_job_id` is not a UUID v4.',
    'Send a UUID v4 of 36 characters, or leave the field out.',
    { mcp: 'Send a UUID v4, or leave client_job_id out.' },
  ),
  invalid_image: refusal(
    400,
    '`image` is not an image reference.',
    'Send a name such as `ubuntu:22.04`, at most 255 characters.',
    { mcp: 'Send an image reference such as "debian:12", or leave `image` out.' },
  ),
  invalid_packages: refusal(
    400,
    '`packages` is not a list of names of Debian packages.',
    'Send at most 100 names such as `libreadline-dev`, without options, paths or blanks.',
    { cli: 'Give names such as `--packages libreadline-dev,tree`.' },
  ),
  cache_not_found: refusal(404, 'No host has this cache.', '`GET /caches` lists those that there are.', {
    cli: '`flashpods cache ls` lists those that there are.',
  }),
  image_not_found: refusal(
    422,
    'No host has this image of Flashpods, and no registry has it either.',
    'Make it with `flashpods image build NAME` on a host, or name one of those in `GET /images`.',
    {
      cli: '`flashpods image ls` lists the images that there are.',
      mcp: 'list_images lists the images that there are; a person makes more of them on the host.',
    },
  ),
  invalid_cpus: refusal(400, '`cpus` is not an integer of at least 1.', 'Send a whole number of cpus.', {
    mcp: 'Send a whole number of cpus, at least 1.',
  }),
  invalid_memory: refusal(
    400,
    '`memory_gb` is not an integer of at least 1.',
    'Send a whole number of gigabytes.',
    { mcp: 'Send a whole number of gigabytes, at least 1.' },
  ),
  invalid_timeout: refusal(
    400,
    '`timeout_minutes` is not an integer of at least 1.',
    'Send a whole number of minutes.',
    { mcp: 'Send a whole number of minutes, at least 1.' },
  ),
  invalid_artifact_name: refusal(
    400,
    'The artifact name has an empty, dotted, overlong or otherwise unsafe segment.',
    'Use a name as the list of artifacts gives it.',
  ),

  job_not_found: refusal(404, 'There is no such job.', 'List the jobs with `GET /jobs`.', {
    cli: '`flashpods ps -a` lists the jobs.',
    mcp: 'Call list_jobs to see the jobs there are.',
  }),
  host_not_found: refusal(404, 'There is no such host.', 'List the hosts with `GET /capacity`.', {
    cli: '`flashpods status` lists the hosts.',
  }),
  upload_not_found: refusal(404, 'There is no such upload.', 'Create an upload with `POST /uploads`.', {
    mcp: 'Call the tool again with `files` to send them again.',
  }),
  artifact_not_found: refusal(
    404,
    'The job left no artifact of that name.',
    'List them with `GET /jobs/:id/artifacts`.',
    {
      cli: '`flashpods artifacts JOB` lists what the job left.',
      mcp: 'Call get_job_artifacts to see what the job left, and use a name from there.',
    },
  ),
  artifact_not_a_file: refusal(
    404,
    'The artifact is a directory, or a symlink that leads to no file: it has no bytes.',
    'Get it with `GET /jobs/:id/artifacts.tar.gz`.',
    {
      cli: '`flashpods artifacts get JOB NAME -o DIRECTORY` makes it there.',
      mcp: 'Fetch it with download_artifact and save_to, or fetch what it leads to.',
    },
  ),
  artifacts_not_available: passing(
    404,
    'The job has not ended, so its artifacts are not collected yet.',
    'Wait with `GET /jobs/:id?wait=60` and ask again.',
    {
      cli: '`flashpods wait JOB` waits for its end.',
      mcp: 'The job has not ended: call wait_for_job first.',
    },
  ),
  logs_not_available: passing(
    404,
    'The job has printed nothing yet.',
    'Wait with `GET /jobs/:id?wait=60` and ask again.',
    {
      cli: '`flashpods logs -f JOB` waits for the first line.',
      mcp: 'Nothing is printed yet: call wait_for_job, or get_job_status to see why it waits.',
    },
  ),
  not_found: refusal(404, 'There is nothing at this path.', 'Look the path up in the API documentation.'),
  method_not_allowed: refusal(
    405,
    'This path does not take this method.',
    'Use a method that the `Allow` header names.',
  ),
  payload_too_large: refusal(
    413,
    'The body is larger than 1 MB.',
    'Send files as an upload, not in the request.',
    { mcp: 'Send less in the arguments: what is long belongs into a file.' },
  ),
  unsupported_media_type: refusal(
    415,
    'The body has a Content-Type that is not taken here.',
    'Send `application/json`, or `application/x-tar` for the files of an upload.',
  ),

  host_in_use: refusal(
    409,
    'The host is still running, or still has jobs.',
    'Stop its worker, and wait until its jobs have ended.',
  ),
  image_in_use: refusal(
    409,
    'A job uses the image.',
    'Wait until its jobs have ended, or cancel them; hosts without such a job have removed it.',
  ),
  upload_not_finalized: refusal(
    409,
    'The upload is not finalized yet.',
    'Call `POST /uploads/{id}/finalize` first.',
    { mcp: 'Call the tool again with `files` to send them again.' },
  ),
  upload_already_finalized: refusal(
    409,
    'The upload is finalized and takes no more files.',
    'Create another upload.',
    { mcp: 'Call the tool again with `files` to send them again.' },
  ),
  upload_already_consumed: refusal(409, 'The upload belongs to another job.', 'Create another upload.', {
    mcp: 'The files went with the first run. Call spawn_worker with `files` to send them again.',
  }),
  job_already_terminal: refusal(409, 'The job has ended already.', 'There is nothing to cancel.', {
    mcp: 'There is nothing to end. get_job_status shows how it ended.',
  }),
  idempotency_key_reused: refusal(
    409,
    'A different request came earlier with this `client_job_id`.',
    'Use a new `client_job_id` for a new request.',
    {
      mcp: 'A different request came earlier with this client_job_id (the details name its job once there is one). Look at that job, or leave client_job_id out for a new one.',
    },
  ),
  quota_exceeded: refusal(
    409,
    'The owner is at a limit of its own.',
    'Wait for some of your jobs to end, or ask for a higher limit.',
    {
      mcp: 'Wait for some of your jobs to end (list_jobs with status "running"), or end some with kill_job.',
    },
  ),
  upload_expired: refusal(410, 'The upload was not used in time and is gone.', 'Create another upload.', {
    mcp: 'Call the tool again with `files` to send them again.',
  }),
  logs_deleted: refusal(410, 'The logs are past their retention and deleted.', 'Run the job again.', {
    mcp: 'The log is past its retention. rerun_job runs the job again.',
  }),
  artifacts_deleted: refusal(
    410,
    'The artifacts are past their retention and deleted.',
    'Run the job again.',
    { mcp: 'The artifacts are past their retention. rerun_job runs the job again.' },
  ),
  events_expired: refusal(
    410,
    'The position is older than the events that are kept.',
    'Start again without `Last-Event-ID`.',
  ),
  unsatisfiable_resources: refusal(
    422,
    'No host here could ever run a job of this size.',
    'Ask for no more than the largest host has; see `GET /capacity`.',
    {
      cli: '`flashpods status` shows what the hosts have.',
      mcp: 'Ask for fewer cpus or less memory_gb: no host here is as large.',
    },
  ),
  insufficient_resources: passing(
    429,
    'There is no room at the moment.',
    'Try later, or send `"when_busy": "queue"`.',
    { cli: 'Try later, or leave out `--when-busy reject` so that the job waits.', mcp: 'Try again later.' },
  ),
  insufficient_storage: refusal(
    507,
    'A limit on stored bytes is reached.',
    'Send less, or free space on the server.',
    { mcp: 'Send less: leave out what the job does not need with files.exclude.' },
  ),

  internal_error: passing(
    500,
    'Something went wrong on our side.',
    'Try again; look up the request id in the server log.',
    { mcp: 'Call again. If it fails again, tell the person the request id.' },
  ),
  database_error: passing(500, 'The database did not answer.', 'Try again; see `GET /health`.', {
    mcp: 'A part of the server is away: call again in a few seconds.',
  }),
  container_error: passing(500, 'Podman did not answer.', 'Try again; see `GET /health`.', {
    mcp: 'A part of the server is away: call again in a few seconds.',
  }),
  service_unavailable: passing(503, 'A part of the service is away.', 'Try again; see `GET /health`.', {
    mcp: 'A part of the server is away: call again in a few seconds.',
  }),
  copy_in_progress: passing(
    503,
    'The container has ended and its artifacts are being collected.',
    'Ask again in a moment.',
    { mcp: 'The artifacts are being collected: call again in a few seconds.' },
  ),

  command_failed: ending(
    'The command of the job ended with an exit code other than 0, or with one that is not known.',
    'The log says why.',
  ),
  job_timed_out: ending(
    'The job ran longer than its `timeout_minutes`.',
    'Allow it more time; the log shows how far it came.',
  ),
  oom_killed: ending(
    'The job used more memory than it asked for and was killed by the kernel.',
    'Run it again with a higher `memory_gb`.',
  ),
  image_pull_failed: ending(
    'The image is not on the host and could not be pulled.',
    'The message says whether the registry could be reached; `GET /images` lists what needs none.',
    {
      cli: 'The message says whether the registry could be reached; `flashpods image ls` lists what needs none.',
      mcp: 'Use an image that is on a host: list_images lists them. Another name helps only if the message says that the registry has no such image.',
    },
  ),
  package_not_found: ending(
    'The package sources of the image have no package of such a name.',
    'The message names those that are most like it; packages.debian.org knows which package has a file.',
  ),
  package_install_failed: ending(
    'The packages could not be installed over the image.',
    'The log holds what apt said; the image has to be a Debian or an Ubuntu, and its package sources have to be reachable.',
  ),
  container_start_failed: ending(
    'The container could not be created or started.',
    'The log holds what Podman said; `flashpods doctor` checks the host.',
  ),
  container_lost_on_recovery: ending(
    'The container was gone when its worker came back.',
    'The host rebooted or somebody removed it; run the job again.',
  ),
  container_not_found_on_recovery: ending('The container was created and is gone.', 'Run the job again.'),
  host_lost: ending('The host of the job did not come back.', 'Run the job again.'),
  queue_timeout: ending(
    'The job did not start within its `max_queue_seconds`.',
    'Allow it more time, or add a host.',
  ),
  disk_limit: ending(
    'The job filled the disk space that it may use.',
    'Write less, or ask for more with `disk_gb`.',
  ),
  disk_error: ending(
    'The host could not keep all that the job wrote to its disk.',
    'Free space on the host, or check its disk, and run the job again.',
  ),
  pids_limit: ending('The job reached its limit of processes.', 'Start fewer processes at once.'),
  artifact_copy_disk_full: ending(
    'The disk of the host was full while artifacts were collected.',
    'Free space on the host and run the job again.',
  ),
  artifact_copy_permission: ending(
    'The artifacts could not be read or written.',
    'Check the permissions of the artifact directory on the host.',
  ),
  artifact_copy_container_gone: ending(
    'The files of the job were gone before they could be collected.',
    'Run the job again.',
  ),
  artifact_copy_failed: ending('The artifacts could not be collected.', 'The message says why.'),
} satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof ERRORS;
/** Codes that say why a job ended. */
export type EndingCode = {
  [Code in ErrorCode]: (typeof ERRORS)[Code]['status'] extends 0 ? Code : never;
}[ErrorCode];

export const isErrorCode = (value: unknown): value is ErrorCode =>
  typeof value === 'string' && Object.hasOwn(ERRORS, value);

/** What to do about a code, by what there is to do it with. */
export const adviceOn = (code: ErrorCode, face: Face): string => {
  const { advice, elsewhere } = ERRORS[code];
  return face === 'api' ? advice : (elsewhere[face] ?? advice);
};

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
}

/** The system error code (`ENOENT`, `SQLITE_BUSY` …) of something thrown, if it has one. */
export const systemCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/** Whether a disk, or somebody's part of it, takes no more. */
export const isDiskFull = (error: unknown): boolean => ['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '');

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
