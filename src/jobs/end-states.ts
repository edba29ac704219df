/** Which state a job ends in with which error code: every code that the catalogue has for the end of a job. */
import type { EndingCode, ErrorCode } from '../errors.ts';

export type FailedState = 'failed' | 'timed_out';

const END_STATES: Readonly<Record<EndingCode, FailedState>> = {
  command_failed: 'failed',
  job_timed_out: 'timed_out',
  oom_killed: 'failed',
  disk_limit: 'failed',
  disk_error: 'failed',
  pids_limit: 'failed',
  queue_timeout: 'failed',
  image_pull_failed: 'failed',
  package_not_found: 'failed',
  package_install_failed: 'failed',
  container_start_failed: 'failed',
  container_lost_on_recovery: 'failed',
  container_not_found_on_recovery: 'failed',
  host_lost: 'failed',
  artifact_copy_disk_full: 'failed',
  artifact_copy_permission: 'failed',
  artifact_copy_container_gone: 'failed',
  artifact_copy_failed: 'failed',
};

/** A code that usually refuses a request fails the job whose start or collection met it. */
export const endStateOf = (code: ErrorCode): FailedState =>
  code in END_STATES ? END_STATES[code as EndingCode] : 'failed';
