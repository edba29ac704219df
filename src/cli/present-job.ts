import type { JobAnswer } from '../client/answers.ts';
import { isErrorCode } from '../errors.ts';
import type { JobState } from '../jobs/states.ts';
import { showBytes, showDuration, showWithin } from './quantity.ts';
import { type Colour, sanitize, shorten } from './terminal.ts';

/** Columns of a line of the log in a line of ours. */
const LONGEST_SAID = 120;

export function stateColour(state: JobState): Colour {
  switch (state) {
    case 'completed':
      return 'green';
    case 'failed':
    case 'timed_out':
      return 'red';
    case 'pending':
    case 'queued':
    case 'starting':
    case 'cancelled':
      return 'yellow';
    case 'running':
      return 'bold';
    case 'cleaning':
    case 'cleaned':
      return 'dim';
  }
}

/** Seconds that the job ran, or runs so far; null when it has not started. */
export function runSeconds(job: JobAnswer, nowMs: number): number | null {
  const told = job.duration_seconds ?? job.elapsed_seconds ?? null;
  if (told !== null) return told;
  if (!job.started_at) return null;
  return ((job.completed_at ? Date.parse(job.completed_at) : nowMs) - Date.parse(job.started_at)) / 1_000;
}

/** `starts within 4 min`: an upper bound, by time limits; null when nobody can know. */
export const startsWithin = ({ latest_start: at }: JobAnswer, nowMs: number): string | null =>
  at ? `starts ${showWithin((Date.parse(at) - nowMs) / 1_000)}` : null;

/** Why it waits and how long at most, for one line. */
export function describeWaiting(job: JobAnswer, nowMs = Date.now()): string {
  const position = job.queue_position ?? null;
  const parts = [
    job.status,
    position === null ? null : `position ${position}`,
    startsWithin(job, nowMs),
    job.waiting_reason ? sanitize(job.waiting_reason) : null,
  ];
  return parts.filter((part) => part !== null).join(' · ');
}

/** How it ended, for one line: `completed · exit 0 · 12 s · peak 120.3 MB`. */
export function describeEnd(job: JobAnswer): string {
  const seconds = runSeconds(job, Date.now());
  const peak = job.usage?.peak_memory_bytes ?? null;
  const exit = job.exit_code ?? null;
  // A sentence beside an exit code says the same again; a code such as `oom_killed` says why.
  const telling = exit === null || isErrorCode(job.error);
  const reason = [job.error, job.error_message]
    .filter((text) => telling && typeof text === 'string' && text !== '')
    .join(': ');
  const [said] = job.error_lines ?? [];
  const parts = [
    job.status,
    exit === null ? null : `exit ${exit}`,
    exit === 0 && said !== undefined ? `but the log says: ${shorten(said, LONGEST_SAID)}` : null,
    reason === '' ? null : sanitize(reason),
    seconds === null ? null : showDuration(seconds),
    peak === null ? null : `peak ${showBytes(peak)}`,
    job.log_truncated ? 'log truncated' : null,
  ];
  return parts.filter((part) => part !== null).join(' · ');
}

/** `[HH:MM:SS.mmm] text`, as the log file has it. @throws RangeError for what is no time */
export const stamped = (time: string, text: string): string =>
  `[${new Date(time).toISOString().slice(11, 23)}] ${text}`;
