/** A journal entry together with the job as it was when the entry was written. */
import type { JobEvent } from './events.ts';
import type { ArtifactRecord, Job } from './job.ts';
import { isHosted, isResult, isTerminal, isWaiting } from './states.ts';
import type { Wait } from './wait.ts';

export interface EventEntry {
  readonly event: JobEvent;
  readonly job: Job;
  /** Whether `job` is the row as it stands: nothing has happened to it since the entry. */
  readonly current: boolean;
  /** What the job left, with the entry that ended it; else none. */
  readonly artifacts: readonly ArtifactRecord[];
  /** When it was read, `performance.now()`: what the job did before the entry was done by then. */
  readonly readAt: number;
  /** How it stands, if the job waits and anybody knows. */
  readonly wait: Wait | null;
}

/** Whether this is the entry that gave the job its result, artifacts included. */
export const bringsResult = ({ payload }: JobEvent): boolean => isResult(payload.status);

/**
 * The journal keeps what happened, not a copy of the row; so what came later than the entry is taken out of the row
 * again. Exact in everything but what a later dispatch has overwritten (host and times of an earlier one: null).
 */
export function jobAt(row: Job, event: JobEvent): Job {
  const { status, epoch } = event.payload;
  const reason = event.type === 'ending_decided' ? event.payload.reason : null;
  // Only the cleaner works on a job that has its result, and it changes nothing that is shown.
  if (isTerminal(status)) return row.status === status ? row : { ...row, status };
  if (row.status === status && row.endingReason === reason) return row;
  const sameDispatch = isHosted(status) && epoch === row.epoch;
  const running = sameDispatch && status === 'running';
  return {
    ...row,
    status,
    epoch,
    endingReason: reason,
    cancelRequestedAt: reason === 'cancel' ? row.cancelRequestedAt : null,
    error: null,
    errorCode: null,
    errorMessage: null,
    host: sameDispatch ? row.host : null,
    diskMib: sameDispatch ? row.diskMib : null,
    startingAt: sameDispatch ? row.startingAt : null,
    startedAt: running ? row.startedAt : null,
    imageDigest: running ? row.imageDigest : null,
    ranBy: running ? row.ranBy : null,
    queuedAt: status === 'pending' ? null : row.queuedAt,
    waitingReason: isWaiting(row.status) ? row.waitingReason : null,
    endedAt: reason === 'exit' ? row.endedAt : null,
    completedAt: null,
    exitCode: null,
    usage: null,
    warnings: [],
    artifactWarnings: [],
    errorLines: [],
    logTruncated: false,
  };
}
