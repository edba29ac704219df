/** What a tool answers when it failed: code, message, what to do next. */
import { adviceFor, ClientError } from '../client/client-error.ts';
import { FlashpodsError, messageOf } from '../errors.ts';
import type { CallToolResult } from './definition.ts';
import { printable } from './printable.ts';

/** The catalogue's advice speaks of HTTP or of the command line; here is what an agent can do. */
const ADVICE: Readonly<Record<string, string>> = {
  invalid_request: 'Correct the arguments that the message names and call the tool again.',
  invalid_arguments: 'Correct the argument that the message names and call the tool again.',
  payload_too_large: 'Send less in the arguments: what is long belongs into a file.',
  missing_authorization: 'Ask the person to set FLASHPODS_API_TOKEN for this MCP server.',
  malformed_authorization: 'Ask the person to check the token of this MCP server (FLASHPODS_API_TOKEN).',
  invalid_token: 'Ask the person to check the token of this MCP server (FLASHPODS_API_TOKEN).',
  insufficient_scope: 'Ask the person for a token with the scope that the message names.',
  not_reachable:
    'Try again in a moment. If it stays so, ask the person to start a server with `flashpods up`, or to set FLASHPODS_URL.',
  wrong_settings: 'Ask the person to correct the setting that the message names.',
  unexpected_answer: 'Ask the person to check that FLASHPODS_URL names a Flashpods server.',
  job_not_found: 'Call list_jobs to see the jobs there are.',
  artifact_not_found: 'Call get_job_artifacts to see what the job left, and use a name from there.',
  artifacts_not_available: 'The job has not ended: call wait_for_job first.',
  copy_in_progress: 'The artifacts are being collected: call again in a few seconds.',
  logs_not_available: 'Nothing is printed yet: call wait_for_job, or get_job_status to see why it waits.',
  logs_deleted: 'The log is past its retention. rerun_job runs the job again.',
  artifacts_deleted: 'The artifacts are past their retention. rerun_job runs the job again.',
  job_already_terminal: 'Nothing is left to end. get_job_status shows how it ended.',
  upload_already_consumed:
    'The files went with the first run. Call spawn_worker with `files` to send them again.',
  upload_not_found: 'Call the tool again with `files` to send them again.',
  upload_expired: 'Call the tool again with `files` to send them again.',
  upload_already_finalized: 'Call the tool again with `files` to send them again.',
  upload_not_finalized: 'Call the tool again with `files` to send them again.',
  idempotency_key_reused:
    'A different request came earlier with this client_job_id (the details name its job once there is one). Look at that job, or leave client_job_id out for a new one.',
  unsatisfiable_resources: 'Ask for fewer cpus or less memory_gb: no host here is as large.',
  insufficient_resources: 'Try again later.',
  quota_exceeded:
    'Wait for some of your jobs to end (list_jobs with status "running"), or end some with kill_job.',
  insufficient_storage: 'Send less: leave out what the job does not need with files.exclude.',
  upload_disk_full: 'Send less: leave out what the job does not need with files.exclude.',
  upload_failed: 'Call again; if a file is named, leave it out with files.exclude.',
  file_exists: 'Give another save_to, or pass overwrite: true.',
  download_failed: 'Check the path in save_to, and call again while the artifact is kept.',
  rate_limited: 'Wait a few seconds between calls; wait_for_job needs fewer of them than polling.',
  poll_timeout: 'Call again in a moment.',
  invalid_image: 'Send an image reference such as "debian:12", or leave `image` out.',
  invalid_cpus: 'Send a whole number of cpus, at least 1.',
  invalid_memory: 'Send a whole number of gigabytes, at least 1.',
  invalid_timeout: 'Send a whole number of minutes, at least 1.',
  invalid_client_job_id: 'Send a UUID v4, or leave client_job_id out.',
  database_error: 'A part of the server is away: call again in a few seconds.',
  container_error: 'A part of the server is away: call again in a few seconds.',
  service_unavailable: 'A part of the server is away: call again in a few seconds.',
  internal_error: 'Call again. If it fails again, tell the person the request id.',
};

/** What to do about an error of this code, by what an agent has. */
export const adviceToAgent = (code: string): string => ADVICE[code] ?? adviceFor(code);

const MAX_DETAILS = 600;

export function toolError(error: unknown): CallToolResult {
  const parts = partsOf(error);
  const details = JSON.stringify(parts.details);
  const lines = [
    `${parts.code}: ${printable(parts.message)}`,
    `What to do: ${parts.advice}`,
    details === '{}' || details.length > MAX_DETAILS ? null : `Details: ${printable(details)}`,
    parts.requestId === null ? null : `Request id: ${printable(parts.requestId)}`,
  ];
  return {
    isError: true,
    content: [{ type: 'text', text: lines.filter((line) => line !== null).join('\n') }],
  };
}

interface Parts {
  readonly code: string;
  readonly message: string;
  readonly advice: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly requestId: string | null;
}

function partsOf(error: unknown): Parts {
  if (error instanceof ClientError) {
    const { code, message, details, requestId } = error;
    // What was said of this very error is more than what is said of its code.
    const isOwn = error.advice !== adviceFor(code);
    return { code, message, details, requestId, advice: isOwn ? error.advice : adviceToAgent(code) };
  }
  if (error instanceof FlashpodsError) {
    const { code, message, details } = error;
    return { code, message, details, advice: adviceToAgent(code), requestId: null };
  }
  // A mistake of ours, or an aborted signal whose answer nobody reads.
  const code = 'internal_error';
  return { code, message: messageOf(error), advice: adviceToAgent(code), details: {}, requestId: null };
}
