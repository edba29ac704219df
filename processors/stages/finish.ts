/** The last stage: how the job ended, as its row, its events and its artifacts tell it. */
import type { Verdict } from '../../src/containers/runtime.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Failure } from '../../src/jobs/lifecycle.ts';
import { type EndingReason, isHosted } from '../../src/jobs/states.ts';
import type { DispatchRecord } from '../dispatch-records.ts';
import { outcomeOf } from '../outcome.ts';
import type { SupervisionResources } from '../resources.ts';
import type { Collected } from './collect.ts';

const NO_VERDICT: Verdict = {
  usage: { peakMemoryBytes: null, cpuSeconds: null, bytesWritten: null, maxProcesses: null },
  oomKilled: false,
  diskFull: false,
  pidsExhausted: false,
};

/** What is known of a job that is over. */
export interface Ended {
  /** The one in force. */
  readonly reason: EndingReason;
  /** How its container ended; null when it has no exit code to show. */
  readonly end: NonNullable<DispatchRecord['end']> | null;
  /** What a stage of ours could not do. */
  readonly failure: Failure | null;
  readonly collected: Collected;
  readonly logTruncated: boolean;
}

/** Writes the terminal state, unless the row has moved on. @throws what the database has against it: call again */
export async function writeEnd(
  { queries, lifecycle, host }: Pick<SupervisionResources, 'queries' | 'lifecycle' | 'host'>,
  job: Job,
  { reason, end, failure, collected, logTruncated }: Ended,
): Promise<void> {
  const row = await queries.get(job.id);
  // Written before a crash that came before the clean-up.
  if (!row || row.epoch !== job.epoch || !isHosted(row.status)) return;
  const exitCode = end?.exitCode ?? null;
  const failed = failure ?? (end === null ? null : collected.failure);
  const { to, ...told } = outcomeOf(reason, exitCode, end?.verdict ?? NO_VERDICT, failed);
  const incomplete = end?.logIncomplete
    ? ['The disk of the host was full: the end of the log is missing.']
    : [];
  const facts = {
    exitCode,
    usage: end?.verdict.usage ?? null,
    logTruncated,
    artifactWarnings: collected.warnings,
    endedAt: end?.endedAt ?? Date.now(),
    ...told,
    warnings: [...told.warnings, ...incomplete],
  };
  await lifecycle.ended(row, { to, facts, artifacts: collected.artifacts }, `host:${host}`);
}
