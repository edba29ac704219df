/** The states of a job and the one table of its transitions (drawn in docs/architecture.md, tested against it). */

const TABLE = {
  pending: ['queued', 'failed', 'cancelled'],
  queued: ['starting', 'failed', 'cancelled'],
  starting: ['queued', 'running', 'failed', 'cancelled'],
  running: ['completed', 'failed', 'timed_out', 'cancelled'],
  completed: ['cleaning'],
  failed: ['cleaning'],
  timed_out: ['cleaning'],
  cancelled: ['cleaning'],
  cleaning: ['cleaned'],
  cleaned: [],
} as const;

export type JobState = keyof typeof TABLE;
export const TRANSITIONS: Readonly<Record<JobState, readonly JobState[]>> = TABLE;
export const JOB_STATES = Object.keys(TABLE) as JobState[];

/** States that give a job its result, each job one of them once. */
export const RESULT_STATES = ['completed', 'failed', 'timed_out', 'cancelled'] as const satisfies JobState[];
/** States in which a job has ended: its result will not change. */
export const TERMINAL_STATES = [...RESULT_STATES, 'cleaning', 'cleaned'] as const satisfies JobState[];
/** States in which a job waits or runs; the group `active` of `GET /jobs`. */
export const ACTIVE_STATES = ['pending', 'queued', 'starting', 'running'] as const satisfies JobState[];
export const WAITING_STATES = ['pending', 'queued'] as const satisfies JobState[];
/** States in which a host answers for the job. */
export const HOSTED_STATES = ['starting', 'running'] as const satisfies JobState[];

const member =
  (states: readonly JobState[]) =>
  (state: JobState): boolean =>
    states.includes(state);
export const isResult = member(RESULT_STATES);
export const isTerminal = member(TERMINAL_STATES);
export const isActive = member(ACTIVE_STATES);
export const isWaiting = member(WAITING_STATES);
export const isHosted = member(HOSTED_STATES);
export const isJobState = (value: string): value is JobState =>
  (JOB_STATES as readonly string[]).includes(value);

/** A programming error: the table does not hold the transition. */
export class TransitionError extends Error {
  override readonly name = 'TransitionError';
}

/** @throws TransitionError when the table does not hold the transition */
export function assertTransition(from: JobState, to: JobState): void {
  if (!TRANSITIONS[from].includes(to)) throw new TransitionError(`no transition ${from} → ${to}`);
}

/**
 * Why a job ends; the first one written wins and everything later is ignored.
 * `exit` the command ended (a cap of the kernel's included: the verdict names it) · `cancel` asked for · `timeout` ran too long ·
 * `start_failed` could not be created or started · `lost` container or host gone · `queue_timeout` never started.
 */
export const ENDING_REASONS = ['exit', 'cancel', 'timeout', 'start_failed', 'lost', 'queue_timeout'] as const;
export type EndingReason = (typeof ENDING_REASONS)[number];
