/** Tools that look at jobs, wait for them and end them. */
import { z } from 'zod';
import { showBytes } from '../../cli/quantity.ts';
import type { JobAnswer } from '../../client/answers.ts';
import type { Backend } from '../backend.ts';
import { FlashpodsError, isErrorCode } from '../../errors.ts';
import { JOB_STATES } from '../../jobs/states.ts';
import { type CallToolResult, tool, type Tool } from '../definition.ts';
import { fenced } from '../job-text.ts';
import { reportResult, reportSchema, statusReport } from '../job-report.ts';
import { callOf } from '../next-step.ts';
import { reportAfterWait, type Shop, waitingOf } from '../making.ts';
import { logShown, MAX_OUTPUT_BYTES, type OutputShown, saved } from '../log-shown.ts';
import { DEFAULT_WAIT_SECONDS, inTime } from '../patience.ts';
import { shownArguments, shownOf, withShown } from '../output-shown.ts';
import { present } from '../present.ts';
import { clip, printable } from '../printable.ts';
import { severalResult } from '../several-jobs.ts';
import { CREATES, jobId, NO_SAVING, READS, waitSeconds } from './arguments.ts';
import { MAX_AT_ONCE, reportsAfterWait } from './run.ts';

const oneJob = z.strictObject({ job_id: jobId });

const DEFAULT_OUTPUT_BYTES = 12_000;
/** Clients of earlier versions ask for so much; see log-shown for what they get. */
const MAX_ASKED_BYTES = 200_000;
const MAX_OUTPUT_LINES = 10_000;
const DEFAULT_LINES = 100;
const MAX_LISTED = 100;
const MAX_COMMAND = 120;

const waitInput = z.strictObject({
  job_id: jobId.optional(),
  job_ids: z.array(jobId).min(1).max(MAX_AT_ONCE).optional().describe('several, in place of job_id'),
  until: z
    .enum(['all', 'first'])
    .optional()
    .describe('of several: wait for all of them, or for the first end'),
  timeout_seconds: waitSeconds,
  ...shownArguments(false),
});

const line = z.int().min(1);
const outputInput = z.strictObject({
  job_id: jobId,
  tail: line
    .max(MAX_OUTPUT_LINES)
    .optional()
    .describe(`last lines; ${DEFAULT_LINES} unless you say something else`),
  from_line: line.optional().describe('first line, by its number: the one of error_lines, grep, or `next`'),
  head: line.max(MAX_OUTPUT_LINES).optional().describe('lines at most, from from_line or the beginning on'),
  grep: z
    .string()
    .min(1)
    .max(1_000)
    .optional()
    .describe('only lines that this regular expression finds, in the whole log'),
  context: z.int().min(0).max(20).optional().describe('of grep: lines around each; 2 unless given'),
  ignore_case: z.boolean().optional(),
  max_bytes: z
    .int()
    .min(200)
    .max(MAX_ASKED_BYTES)
    .default(DEFAULT_OUTPUT_BYTES)
    .describe(`${MAX_OUTPUT_BYTES} at most are given; \`next\` goes on`),
});
const SAVE_TO = z
  .string()
  .min(1)
  .optional()
  .describe(
    'absolute path of a new file, within what the person opened: the whole log goes there, byte for byte',
  );
const localOutputInput = outputInput.extend({ save_to: SAVE_TO });

const outputSchema = z.object({
  job_id: z.string(),
  status: z.enum(JOB_STATES),
  output: z.string(),
  lines: z.int(),
  first_line: z.int().optional().describe('number of the first line shown'),
  omitted_lines: z.int().describe('lines that were asked for and exceed max_bytes'),
  matches: z.int().optional(),
  saved_to: z.string().optional(),
  log_bytes: z.int().describe('what the job printed'),
  log_truncated: z.boolean().describe('the middle of the log is not kept'),
  next: z.string(),
});

const listInput = z.strictObject({
  status: z.enum(['all', 'running', 'completed', 'failed']).default('all'),
  limit: z.int().min(1).max(MAX_LISTED).default(20),
});

const listSchema = z.object({
  jobs: z.array(
    z.object({
      job_id: z.string(),
      type: z.string(),
      status: z.enum(JOB_STATES),
      exit_code: z.int().optional(),
      error: z.string().optional().describe('a code such as oom_killed'),
      command: z.string().describe('its beginning'),
      created_at: z.string(),
      seconds_run: z.number().optional(),
    }),
  ),
  total: z.int().describe('jobs that there are'),
  next: z.string(),
});

function outputResult(job: JobAnswer, { text, summary, ...facts }: OutputShown): CallToolResult {
  const isTruncated = job.log_truncated === true;
  const truncated = isTruncated ? ', the middle of which is not kept' : '';
  const header = `${job.id} ${job.status}: ${summary} of ${showBytes(facts.log_bytes)} of log${truncated}`;
  return {
    content: [
      { type: 'text', text: `${header}\nNext: ${facts.next}` },
      ...(text === '' ? [] : [fenced(`log of ${job.id}`, text)]),
    ],
    structuredContent: {
      job_id: job.id,
      status: job.status,
      output: text,
      log_truncated: isTruncated,
      ...facts,
    },
  };
}

export function jobTools({ backend, files }: Shop): Tool[] {
  return [
    tool({
      name: 'wait_for_job',
      title: 'Wait for a job',
      description:
        'Waits until a job ends, or several, and answers as run_command does. If it has not ended after timeout_seconds the answer says so: call again. Cancelling this call stops the wait, not the job.',
      input: waitInput,
      output: reportSchema,
      annotations: { ...READS, title: 'Wait for a job' },
      async call({ job_id: id, job_ids: ids, until = 'all', timeout_seconds: seconds, ...asked }, context) {
        const waitSeconds = seconds ?? DEFAULT_WAIT_SECONDS;
        const shown = shownOf(asked);
        const several = ids === undefined ? null : [...new Set(id === undefined ? ids : [id, ...ids])];
        const work = async (signal: AbortSignal): Promise<CallToolResult> => {
          const waiting = waitingOf(context, signal, waitSeconds);
          if (several) return severalResult(await reportsAfterWait(backend, several, waiting, until), until);
          if (id === undefined)
            throw new FlashpodsError('invalid_request', 'wait_for_job needs `job_id` or `job_ids`.');
          return reportResult(
            await withShown(backend, await reportAfterWait(backend, id, waiting), shown, signal),
          );
        };
        return inTime(context.signal, work, waitSeconds);
      },
    }),
    tool({
      name: 'get_job_status',
      title: 'Status of a job',
      description:
        'The state of a job now: waiting (why, position, latest start), running, or how it ended, with exit code, times and memory. Without its log; wait_for_job waits for the end.',
      input: oneJob,
      output: reportSchema,
      annotations: { ...READS, title: 'Status of a job' },
      call: async ({ job_id: id }, context) =>
        reportResult(
          await inTime(context.signal, async (signal) => statusReport(await backend.getJob(id, { signal }))),
        ),
    }),
    tool({
      name: 'get_job_output',
      title: 'Log of a job',
      description: `A job’s log, while it runs and afterwards: its last lines; those from from_line on; what grep finds${files ? '; or all of it into a file (save_to)' : ''}. At most max_bytes; \`next\` says the call that goes on. Kept for a day.`,
      input: files ? localOutputInput : outputInput,
      ...(files ? {} : { notHere: { save_to: NO_SAVING } }),
      output: outputSchema,
      annotations: { ...READS, title: 'Log of a job', ...(files ? { readOnlyHint: false } : {}) },
      call: async (args, context) => {
        const { save_to: saveTo } = args as { readonly save_to?: string | undefined };
        const jobOf = (signal: AbortSignal): Promise<JobAnswer> => backend.getJob(args.job_id, { signal });
        if (saveTo !== undefined && files) {
          const job = await inTime(context.signal, jobOf);
          // As long as it takes.
          return outputResult(job, await saved(files, { ...args, save_to: saveTo }, context));
        }
        return inTime(context.signal, async (signal) =>
          outputResult(await jobOf(signal), await logShown(backend, args, signal)),
        );
      },
    }),
    tool({
      name: 'list_jobs',
      title: 'List jobs',
      description:
        'Your jobs, newest first. `running` means those that wait or run; `failed` includes those that timed out. For a job_id that you lost, or to see what is going on.',
      input: listInput,
      output: listSchema,
      annotations: { ...READS, title: 'List jobs' },
      call: async ({ status, limit }, context) =>
        inTime(context.signal, async (signal) => {
          const { jobs, total } = await listOf(backend, status, limit, signal);
          const entries = jobs.map(entryOf);
          const older = total - entries.length;
          const next =
            older > 0
              ? limit < MAX_LISTED
                ? `${older} more. ${callOf('list_jobs', { status, limit: MAX_LISTED })} shows up to ${MAX_LISTED}.`
                : `${older} older ones are not listed here.${files ? ' `flashpods ps --all --limit N` lists them.' : ''}`
              : entries.length === 0
                ? 'There are none.'
                : 'These are all.';
          const rows = entries.map(({ job_id: id, status: state, exit_code: exit, error, command }) =>
            [id, state, exit === undefined ? undefined : `exit ${exit}`, error, command]
              .filter((part) => part !== undefined)
              .join(' · '),
          );
          return {
            content: [{ type: 'text', text: [...rows, next].join('\n') }],
            structuredContent: { jobs: entries, total, next },
          };
        }),
    }),
    tool({
      name: 'kill_job',
      title: 'End a job',
      description:
        'Ends a job that waits or runs: SIGTERM, then SIGKILL after a grace of seconds. Its log and artifacts are kept. Can’t be undone; rerun_job would begin from the start.',
      input: oneJob,
      output: reportSchema,
      annotations: { ...READS, title: 'End a job', readOnlyHint: false, destructiveHint: true },
      call: async ({ job_id: id }, context) =>
        inTime(context.signal, async (signal) => {
          await backend.cancelJob(id, signal);
          const report = statusReport(await backend.getJob(id, { signal }));
          const next = report.ended
            ? report.next
            : `It is being ended. ${callOf('wait_for_job', { job_id: id })} waits until it is gone.`;
          return reportResult({ ...report, next });
        }),
    }),
    tool({
      name: 'rerun_job',
      title: 'Run a job again',
      description:
        'Makes a new job with the same command, image, variables and resources as an earlier one, and answers at once with its job_id. If its files are gone (upload_already_consumed), use spawn_worker with `files`.',
      input: oneJob,
      output: reportSchema,
      annotations: { ...CREATES, title: 'Run a job again' },
      call: async ({ job_id: id }, context) =>
        inTime(context.signal, async (signal) => {
          const created = await backend.rerunJob(id, signal);
          return reportResult({
            ...statusReport(await backend.getJob(created.job_id, { signal })),
            created: true,
          });
        }),
    }),
  ];
}

async function listOf(
  backend: Backend,
  status: 'all' | 'running' | 'completed' | 'failed',
  limit: number,
  signal: AbortSignal,
): Promise<{ jobs: readonly JobAnswer[]; total: number }> {
  const states = {
    all: ['all'],
    running: ['active'],
    completed: ['completed'],
    failed: ['failed', 'timed_out'],
  }[status];
  const pages = await Promise.all(states.map((state) => backend.listJobs({ status: state, limit }, signal)));
  const jobs = pages
    .flatMap((page) => page.jobs)
    .toSorted((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at));
  return { jobs: jobs.slice(0, limit), total: pages.reduce((sum, page) => sum + page.total, 0) };
}

const entryOf = (job: JobAnswer) => ({
  job_id: job.id,
  type: job.type,
  status: job.status,
  command: clip(printable(job.command ?? job.task ?? ''), MAX_COMMAND),
  created_at: job.created_at,
  ...present({
    exit_code: job.exit_code,
    error: isErrorCode(job.error) ? job.error : null,
    seconds_run: job.duration_seconds ?? job.elapsed_seconds,
  }),
});
