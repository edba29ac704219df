/** The last stage: how the job ended, as its row, its events and its artifacts tell it. */
import type { Verdict } from '../../src/containers/runtime.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Failure } from '../../src/jobs/lifecycle.ts';
import { type EndingReason, isHosted, type JobState } from '../../src/jobs/states.ts';
import { errorsInLog } from '../log-errors.ts';
import { pipeNote } from '../broken-pipe.ts';
import type { DispatchRecord } from '../dispatch-records.ts';
import { outcomeOf } from '../outcome.ts';
import type { SupervisionResources } from '../resources.ts';
import type { Collected } from './collect.ts';

/** With pipefail a pipe ends with 141 when a program in it was ended because the next one had read enough. */
const brokenPipe = (job: Job, exitCode: number | null): string[] =>
  exitCode === 141 && job.ranBy?.startsWith('bash') === true && job.command !== null
    ? [pipeNote(job.command)]
    : [];

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

/** What its log says, of a command that ran to its end; nothing where nobody can read it. */
async function errorsOf(
  { logs, logger }: Pick<SupervisionResources, 'logs' | 'logger'>,
  id: string,
  to: JobState,
  exitCode: number | null,
): Promise<string[]> {
  if (to === 'cancelled') return [];
  return await errorsInLog(logs, id, exitCode !== 0).catch((error: unknown) => {
    logger.warn({ err: error, job_id: id }, 'the log could not be searched for errors');
    return [];
  });
}

/** Writes the terminal state, unless the row has moved on. @throws what the database has against it: call again */
export async function writeEnd(
  resources: Pick<SupervisionResources, 'queries' | 'lifecycle' | 'host' | 'logs' | 'logger'>,
  job: Job,
  { reason, end, failure, collected, logTruncated }: Ended,
): Promise<void> {
  const { queries, lifecycle, host } = resources;
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
    errorLines: end === null ? [] : await errorsOf(resources, job.id, to, exitCode),
    endedAt: end?.endedAt ?? Date.now(),
    ...told,
    warnings: [...told.warnings, ...brokenPipe(row, exitCode), ...incomplete],
  };
  await lifecycle.ended(row, { to, facts, artifacts: collected.artifacts }, `host:${host}`);
}
