/** A job as a tool shows it: the numbers that matter, the end of its log, and what to do next. */
import { z } from 'zod';
import { count, showBytes, showDuration } from '../cli/quantity.ts';
import type { ArtifactAnswer, JobAnswer } from '../client/answers.ts';
import { ClientError, hasCode } from '../client/client-error.ts';
import { FlashpodsError, isErrorCode } from '../errors.ts';
import { missingProgram, missingProgramAdvice } from '../images/missing-program.ts';
import { missingPart, type MissingPart, missingPartAdvice } from '../packages/missing.ts';
import { isTerminal, isWaiting, JOB_STATES } from '../jobs/states.ts';
import type { Backend } from './backend.ts';
import type { CallToolResult } from './definition.ts';
import { fenced } from './job-text.ts';
import { type Excerpt, excerpt, linesOf, markedAsText } from './log-text.ts';
import { present } from './present.ts';
import { errorsOf, failedHint, nextFor, type SaidLast, silenceOf } from './next-step.ts';
import { clip, printable, quoted } from './printable.ts';

export const reportSchema = z.object({
  job_id: z.string().optional().describe('missing only while files are still being sent'),
  status: z.enum(['uploading', ...JOB_STATES]),
  ended: z.boolean().describe('the result will not change any more'),
  exit_code: z.int().optional(),
  ran_by: z
    .string()
    .optional()
    .describe('what ran the command: `bash -o pipefail`, `sh`, or the first line of a script'),
  error: z.string().optional().describe('why it ended badly: a code such as oom_killed, or a sentence'),
  error_message: z.string().optional(),
  waiting_reason: z.string().optional(),
  queue_position: z.int().optional().describe('1 is next'),
  estimated_start: z.string().optional(),
  seconds_waited: z.number().optional(),
  seconds_run: z.number().optional(),
  cpus: z.int().optional(),
  memory_gb: z.int().optional(),
  timeout_minutes: z.int().optional(),
  peak_memory_mb: z
    .number()
    .optional()
    .describe('1,024 are a GB; files that the kernel keeps in memory are counted'),
  cpu_seconds: z.number().optional(),
  created: z.boolean().optional().describe('false: this client_job_id had made the job before'),
  client_job_id: z.string().optional(),
  poll_timeout: z
    .boolean()
    .optional()
    .describe('the wait is over and the job is not: call again as `next` says'),
  artifacts: z.array(z.object({ name: z.string(), size_bytes: z.int() })).optional(),
  artifact_count: z.int().optional(),
  error_lines: z
    .array(z.string())
    .optional()
    .describe(
      'lines of the log that look like an error, `LINE: text`; a guess, also where the exit code is 0',
    ),
  output: z.string().optional().describe('the last lines of the log, stdout and stderr as they came'),
  output_lines: z.int().optional(),
  output_shows: z.string().optional().describe('what of the log `output` is, where something was asked for'),
  silence: z.string().optional(),
  downloaded_to: z.string().optional(),
  jobs: z.array(z.looseObject({})).optional().describe('of several'),
  log_bytes: z.int().optional().describe('what the job printed'),
  log_truncated: z.boolean().optional().describe('the job printed more than is kept'),
  warnings: z.array(z.string()).optional(),
  notes: z
    .array(z.string())
    .optional()
    .describe('what of the files stayed behind and why, and other remarks on what was sent and asked for'),
  next: z.string().optional().describe('what to do now; absent where that is plain'),
});

export type JobReport = z.infer<typeof reportSchema>;

/** Lines and bytes of the log beside a job's status; the whole of it is `get_job_output`'s. */
const TAIL_LINES = 20;
const TAIL_BYTES = 4_000;
const MAX_ARTIFACTS = 20;
const MAX_MESSAGE = 500;
const MAX_WARNINGS = 5;

/** The status alone; asks for nothing. */
export function statusReport(job: JobAnswer): JobReport {
  const peak = job.usage?.peak_memory_bytes ?? null;
  const errors = (job.error_lines ?? []).map((line) => markedAsText(clip(printable(line), MAX_MESSAGE)));
  const warnings = [...(job.warnings ?? []), ...(job.artifact_warnings ?? [])];
  return {
    job_id: job.id,
    status: job.status,
    ended: isTerminal(job.status),
    ...present({
      exit_code: job.exit_code,
      ran_by: short(job.ran_by),
      error: short(job.error),
      error_message: short(job.error_message),
      waiting_reason: short(job.waiting_reason),
      queue_position: job.queue_position,
      estimated_start: job.estimated_start,
      seconds_waited: job.queue_seconds,
      seconds_run: job.duration_seconds ?? job.elapsed_seconds,
      cpus: job.cpus,
      memory_gb: job.memory_gb,
      timeout_minutes: job.timeout_minutes,
      peak_memory_mb: peak === null ? null : Math.round((peak / 2 ** 20) * 10) / 10,
      cpu_seconds: job.usage?.cpu_seconds,
      error_lines: errors.length === 0 ? null : errors,
      log_truncated: job.log_truncated ? true : null,
      warnings:
        warnings.length === 0
          ? null
          : warnings.slice(0, MAX_WARNINGS).map((warning) => clip(printable(warning), MAX_MESSAGE)),
    }),
    ...present({ next: nextFor(job, { hint: failedHint(job, []) }) }),
  };
}

/** The status with the end of the log and, once it has ended, what it left and what went wrong. */
export async function fullReport(backend: Backend, job: JobAnswer, signal?: AbortSignal): Promise<JobReport> {
  const report = statusReport(job);
  if (isWaiting(job.status)) return report;
  const [log, artifacts] = await Promise.all([
    readLog(backend, job, signal),
    isTerminal(job.status) ? listArtifacts(backend, job.id, signal) : null,
  ]);
  const lacks = log?.missingProgram
    ? await missingIn(backend, job, log.missingProgram, signal)
    : log?.missingPart
      ? missingPartAdvice(log.missingPart, job.packages ?? [])
      : null;
  const hint = lacks ?? failedHint(job, log?.said ?? []);
  const more = log !== null && log.more;
  const silence = silenceOf(job, log);
  const next = nextFor(job, { more, artifacts: artifacts ?? [], hint, silence });
  return {
    ...report,
    ...present({
      output: log?.tail.text,
      output_lines: log?.tail.lines,
      log_bytes: log?.bytes,
      artifacts: artifacts?.slice(0, MAX_ARTIFACTS).map(({ name, size_bytes }) => ({ name, size_bytes })),
      artifact_count: artifacts?.length,
    }),
    ...present({ next, silence: isTerminal(job.status) ? null : silence }),
  };
}

interface ReadLog extends SaidLast {
  readonly tail: Excerpt;
  /** The last one that the log says is not there. */
  readonly missingProgram: string | null;
  /** The first header or library of which the log says the same. */
  readonly missingPart: MissingPart | null;
  readonly bytes: number;
  /** The log holds more than the tail. */
  readonly more: boolean;
}

async function readLog(
  backend: Backend,
  job: JobAnswer,
  signal: AbortSignal | undefined,
): Promise<ReadLog | null> {
  const failed = job.status === 'failed' || job.status === 'timed_out';
  try {
    const page = await backend.log(job.id, { tail: TAIL_LINES }, signal);
    if (!page) return null;
    const lines = linesOf(page.lines);
    const tail = excerpt(lines, TAIL_BYTES);
    const said = [...errorsOf(job), ...lines.map(({ text }) => text)];
    const missing = failed ? said.map(missingProgram).findLast((name) => name !== null) : null;
    return {
      tail,
      said: lines.map(({ text }) => text),
      lastTime: page.lines.at(-1)?.time ?? null,
      missingProgram: missing ?? null,
      missingPart: failed ? (said.map(missingPart).find((part) => part !== null) ?? null) : null,
      bytes: page.printedBytes ?? page.totalBytes,
      more: tail.lines < lines.length || (lines[0]?.seq ?? 1) > 1,
    };
  } catch (error) {
    if (hasCode(error, 'logs_deleted')) return null;
    throw error;
  }
}

/** What to do about a program that the job's image lacks; null when nobody can say. */
async function missingIn(
  backend: Backend,
  job: JobAnswer,
  program: string,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  try {
    return missingProgramAdvice(program, job.image, await backend.images(program, signal));
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ClientError || error instanceof FlashpodsError) return null;
    throw error;
  }
}

async function listArtifacts(
  backend: Backend,
  id: string,
  signal: AbortSignal | undefined,
): Promise<readonly ArtifactAnswer[] | null> {
  try {
    return (await backend.artifacts(id, signal)).artifacts;
  } catch (error) {
    if (hasCode(error, 'artifacts_not_available', 'copy_in_progress', 'artifacts_deleted')) return null;
    throw error;
  }
}

const short = (text: string | null | undefined): string | null =>
  typeof text === 'string' && text !== '' ? clip(printable(text), MAX_MESSAGE) : null;

/** The report as a tool's result: for the model as text, for programs as structure. What the job wrote comes last. */
export function reportResult(report: JobReport): CallToolResult {
  const said = jobText(report);
  return {
    content: [
      { type: 'text', text: reportText(report) },
      ...(said === null ? [] : [fenced(`log of ${report.job_id ?? 'the job'}`, said)]),
    ],
    structuredContent: { ...report },
  };
}

function reportText(report: JobReport): string {
  const { artifacts = [], artifact_count: total = 0, warnings = [] } = report;
  const lines = [headline(report)];
  if (report.created === false) lines.push('No new job was made: this client_job_id had made it before.');
  if (report.waiting_reason !== undefined && !report.ended) lines.push(report.waiting_reason);
  if (artifacts.length > 0) {
    const names = artifacts.map(({ name, size_bytes }) => `${quoted(name)} (${showBytes(size_bytes)})`);
    if (total > artifacts.length)
      names.push(`and ${total - artifacts.length} more: get_job_artifacts lists them`);
    lines.push(`Artifacts: ${names.join(', ')}`);
  }
  for (const warning of warnings) lines.push(`Warning: ${warning}`);
  for (const note of report.notes ?? []) lines.push(`Note: ${note}`);
  if (report.error_lines && report.status === 'completed')
    lines.push('Exit 0, but the log has what looks like an error, see below.');
  if (report.silence !== undefined) lines.push(report.silence);
  if (report.output === '')
    lines.push(
      report.output_shows === undefined ? 'It printed nothing.' : `Nothing: ${report.output_shows}.`,
    );
  if (report.downloaded_to !== undefined) lines.push(`Artifacts are in ${quoted(report.downloaded_to)}.`);
  if (report.next !== undefined) lines.push(`Next: ${report.next}`);
  return lines.join('\n');
}

/** What of the report the job wrote; null when there is none. */
function jobText({ status, output, error_lines: errors, ...report }: JobReport): string | null {
  const lines: string[] = [];
  if (errors) {
    const looks = 'Looks like the error (line of the log: text):';
    lines.push(status === 'completed' ? 'Exit 0, but the log says (line of the log: text):' : looks);
    lines.push(...errors);
  }
  if (output !== undefined && output !== '') {
    const whole = showBytes(report.log_bytes ?? 0);
    const which = report.output_shows ?? `The last ${count(report.output_lines ?? 0, 'line')}`;
    lines.push(`${which} of ${whole} of log:`, output);
  }
  return lines.length === 0 ? null : lines.join('\n');
}

/** The kernel counts files that it keeps in memory, and gives those up before a job runs out of it. */
function peakOf(peakMb: number, { memory_gb: limit, error }: JobReport): string {
  const isAtLimit = limit !== undefined && peakMb >= limit * 1_024 * 0.9 && error !== 'oom_killed';
  return `peak memory ${peakMb} MB of ${limit ?? '?'} GB${isAtLimit ? ', cached files included' : ''}`;
}

function headline(report: JobReport): string {
  const { exit_code: exit, error, seconds_run: run, seconds_waited: waited } = report;
  const named = error !== undefined && (exit === undefined || isErrorCode(error));
  const parts = [
    `${report.job_id ?? 'The job'} ${report.status}`,
    exit === undefined ? null : `exit ${exit}`,
    named ? [error, report.error_message].filter((part) => part !== undefined).join(': ') : null,
    report.queue_position === undefined ? null : `position ${report.queue_position} in the queue`,
    report.estimated_start === undefined || report.ended
      ? null
      : `starts ${report.estimated_start} at the latest`,
    run !== undefined
      ? `${report.ended ? 'ran' : 'running for'} ${showDuration(run)}`
      : waited === undefined
        ? null
        : `waited ${showDuration(waited)}`,
    report.peak_memory_mb === undefined ? null : peakOf(report.peak_memory_mb, report),
  ];
  return parts.filter((part) => part !== null).join(' · ');
}
