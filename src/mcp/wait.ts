import { showBytes, showDuration } from '../cli/quantity.ts';
import type { CreatedJob, JobAnswer } from '../client/answers.ts';
import { isTerminal, isWaiting } from '../jobs/states.ts';
import { within } from '../timing/within.ts';
import type { Backend } from './backend.ts';
import type { CallContext } from './definition.ts';
import { linesOf } from './log-text.ts';
import { clip } from './printable.ts';
import type { Submission, SubmissionPhase } from './submissions.ts';

/** Between two notices of progress. */
const NOTICE_S = 3;
/** A long poll without anybody who wants progress. */
const POLL_S = 20;
const MAX_NOTICE = 200;
/** The API waits for whole seconds; with less left it is not asked again. */
const LAST_MS = 100;

export interface Waiting {
  /** When the call began: what is told as progress are its seconds. By `performance.now()`, as the next. */
  readonly beganMs: number;
  readonly untilMs: number;
  readonly context: CallContext;
  readonly signal: AbortSignal;
}

const secondsSince = (ms: number): number => (performance.now() - ms) / 1_000;

/**
 * Waits for the job's end, and tells the client meanwhile how it gets on.
 * @returns the job as it is then, ended or not. @throws ClientError, or the signal's reason
 */
export async function waitForEnd(
  backend: Backend,
  id: string,
  { beganMs, untilMs, context, signal }: Waiting,
): Promise<JobAnswer> {
  let job = await backend.getJob(id, { signal });
  while (!isTerminal(job.status)) {
    const leftMs = untilMs - performance.now();
    if (leftMs < LAST_MS) return job;
    if (context.wantsProgress) {
      await context.progress(secondsSince(beganMs), await notice(backend, job, signal));
    }
    const waitSeconds = Math.min(Math.ceil(leftMs / 1_000), context.wantsProgress ? NOTICE_S : POLL_S);
    job = await backend.getJob(id, { waitSeconds, signal });
  }
  return job;
}

/** `running for 12 s · last line: …` */
async function notice(backend: Backend, job: JobAnswer, signal: AbortSignal): Promise<string> {
  const place = job.queue_position ?? null;
  const seconds = job.elapsed_seconds ?? null;
  const parts = [
    seconds === null ? job.status : `${job.status} for ${showDuration(seconds)}`,
    place === null ? null : `position ${place} in the queue`,
    job.waiting_reason ?? null,
  ];
  if (!isWaiting(job.status)) {
    const last = linesOf((await backend.log(job.id, { tail: 1 }, signal))?.lines ?? []).at(-1)?.text ?? '';
    if (last !== '') parts.push(`last line: ${last}`);
  }
  return clip(parts.filter((part) => part !== null).join(' · '), MAX_NOTICE);
}

/** How often progress of a submission is told. */
const SUBMISSION_NOTICE_MS = 1_000;

/** @returns null when the time is over and the job is not created yet. @throws what the submission threw, or the signal's reason */
export async function waitForCreation(
  submission: Submission,
  { beganMs, untilMs, context, signal }: Waiting,
): Promise<CreatedJob | null> {
  for (;;) {
    signal.throwIfAborted();
    const leftMs = untilMs - performance.now();
    if (leftMs <= 0) return null;
    const created = await within(submission.created, Math.min(SUBMISSION_NOTICE_MS, leftMs), null, signal);
    if (created) {
      submission.markTold();
      return created;
    }
    await context.progress(secondsSince(beganMs), describePhase(submission.phase));
  }
}

export function describePhase(phase: SubmissionPhase): string {
  if (phase.name === 'reading') return 'reading the files';
  if (phase.name === 'creating') return 'creating the job';
  return `sending files: ${showBytes(phase.bytes)} of ${showBytes(phase.total)}`;
}
