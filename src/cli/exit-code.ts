import type { JobAnswer } from '../client/answers.ts';
import { ClientError } from '../client/client-error.ts';

/** What the process says when it is not a job's own exit code that it passes on. */
export const ExitCode = {
  fine: 0,
  error: 1,
  usage: 2,
  notReachable: 3,
  notFound: 4,
  refused: 5,
  /** Of the commands that pass a job's code on: every failure that is not the job's. */
  ownFailure: 125,
  timedOut: 124,
  cancelled: 130,
} as const;

/** The job's own code. @throws Error (a programming error) for a job that has not ended */
export function exitCodeOfJob(job: Pick<JobAnswer, 'status' | 'exit_code' | 'error'>): number {
  const own = job.exit_code ?? null;
  switch (job.status) {
    case 'completed':
      return ExitCode.fine;
    case 'timed_out':
      return ExitCode.timedOut;
    case 'cancelled':
      return ExitCode.cancelled;
    case 'failed':
      // A command that ended well can fail all the same: its artifacts could not be collected.
      return own === null || own === 0 ? ExitCode.ownFailure : own;
    case 'cleaning':
    case 'cleaned':
      return own ?? ExitCode.ownFailure;
    case 'pending':
    case 'queued':
    case 'starting':
    case 'running':
      throw new Error(`a job that is ${job.status} has no exit code`);
  }
}

/** @param passesCode the command passes a job's code on, which a failure of ours must not look like */
export function exitCodeOfError(error: unknown, passesCode = false): number {
  const code = error instanceof ClientError ? error.code : null;
  if (code === 'interrupted') return ExitCode.cancelled;
  if (code === 'poll_timeout') return ExitCode.timedOut;
  return passesCode ? ExitCode.ownFailure : exitCodeOfFailure(error);
}

function exitCodeOfFailure(error: unknown): number {
  if (!(error instanceof ClientError)) return ExitCode.error;
  switch (error.code) {
    case 'wrong_settings':
    case 'invalid_arguments':
      return ExitCode.usage;
    case 'not_reachable':
      return ExitCode.notReachable;
  }
  switch (error.status) {
    case 400:
      return ExitCode.usage;
    case 401:
    case 403:
      return ExitCode.refused;
    case 404:
      return ExitCode.notFound;
    default:
      return ExitCode.error;
  }
}
