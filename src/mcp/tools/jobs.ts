/** Tools that look at jobs, wait for them and end them. */
import { z } from 'zod';
import { showBytes } from '../../cli/quantity.ts';
import type { JobAnswer } from '../../client/answers.ts';
import type { Backend } from '../backend.ts';
import { ClientError } from '../../client/client-error.ts';
import { isErrorCode } from '../../errors.ts';
import { JOB_STATES } from '../../jobs/states.ts';
import { tool, type Tool } from '../definition.ts';
import { fenced } from '../fenced.ts';
import { callOf, reportResult, reportSchema, statusReport } from '../job-report.ts';
import { excerpt, linesOf } from '../log-text.ts';
import { DEFAULT_WAIT_SECONDS, inTime } from '../patience.ts';
import { present } from '../present.ts';
import { clip, printable } from '../printable.ts';
import { CREATES, jobId, READS, waitSeconds } from './arguments.ts';
import { reportAfterWait, type Shop } from './spawn.ts';

const oneJob = z.strictObject({ job_id: jobId });

const DEFAULT_OUTPUT_BYTES = 12_000;
const MAX_OUTPUT_BYTES = 200_000;
const MAX_OUTPUT_LINES = 10_000;
const MAX_LISTED = 100;
const MAX_COMMAND = 120;

const waitInput = z.strictObject({ job_id: jobId, timeout_seconds: waitSeconds });

const outputInput = z.strictObject({
  job_id: jobId,
  tail: z.int().min(1).max(MAX_OUTPUT_LINES).default(100).describe('last lines'),
  from_start: z.boolean().optional().describe('the first lines instead of the last'),
  max_bytes: z
    .int()
    .min(200)
    .max(MAX_OUTPUT_BYTES)
    .default(DEFAULT_OUTPUT_BYTES)
    .describe('bytes of the answer'),
});

const outputSchema = z.object({
  job_id: z.string(),
  status: z.enum(JOB_STATES),
  output: z.string(),
  lines: z.int(),
  omitted_lines: z.int().describe('lines that were asked for and exceed max_bytes'),
  log_bytes: z.int().describe('size of the whole log'),
  log_truncated: z.boolean().describe('the job printed more than is kept'),
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

export function jobTools({ backend, files }: Shop): Tool[] {
  return [
    tool({
      name: 'wait_for_job',
      title: 'Wait for a job',
      description:
        'Waits until a job ends and answers with its status, exit code, last lines of the log, lines that look like the error, and artifacts. If it has not ended after timeout_seconds the answer says so: call again. Cancelling this call stops the wait, not the job.',
      input: waitInput,
      output: reportSchema,
      annotations: { ...READS, title: 'Wait for a job' },
      async call({ job_id: id, timeout_seconds: seconds = DEFAULT_WAIT_SECONDS }, context) {
        const work = async (signal: AbortSignal) => {
          const beganMs = performance.now();
          const waiting = { beganMs, untilMs: beganMs + seconds * 1_000, context, signal };
          return reportAfterWait(backend, id, waiting);
        };
        return reportResult(await inTime(context.signal, work, seconds));
      },
    }),
    tool({
      name: 'get_job_status',
      title: 'Status of a job',
      description:
        'The state of a job now: waiting (why, position, estimated start), running, or how it ended, with exit code, times and memory. Without its log. To know when it ends use wait_for_job instead of asking again and again.',
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
      description: `The last lines of a job’s log, stdout and stderr as they came, while it runs and afterwards. At most max_bytes (${DEFAULT_OUTPUT_BYTES} unless you say more); overlong lines are shortened in the middle. Logs are kept for a day.`,
      input: outputInput,
      output: outputSchema,
      annotations: { ...READS, title: 'Log of a job' },
      call: async ({ job_id: id, tail, from_start: fromStart = false, max_bytes: maxBytes }, context) =>
        inTime(context.signal, async (signal) => {
          const [job, page] = await Promise.all([
            backend.getJob(id, { signal }),
            backend.log(id, fromStart ? { offset: 0 } : { tail }, signal),
          ]);
          if (!page)
            throw new ClientError('logs_not_available', 'Nothing has been captured for this job yet.');
          const all = linesOf(page.lines);
          const lines = fromStart ? all.slice(0, tail) : all.slice(-tail);
          const shown = excerpt(lines, maxBytes, fromStart ? 'start' : 'end');
          const whole = fromStart
            ? lines.length === all.length && page.nextOffset >= page.totalBytes
            : (lines[0]?.seq ?? 1) === 1;
          const isAll = whole && shown.omitted === 0;
          const more = {
            job_id: id,
            tail: shown.omitted > 0 ? tail : Math.min(MAX_OUTPUT_LINES, tail * 5),
            ...(fromStart ? { from_start: true } : {}),
            max_bytes: Math.min(MAX_OUTPUT_BYTES, maxBytes * 4),
          };
          const isMost = shown.omitted > 0 ? maxBytes === MAX_OUTPUT_BYTES : tail === MAX_OUTPUT_LINES;
          const otherEnd = { job_id: id, from_start: !fromStart };
          const wholeLog = files ? `\`flashpods logs ${id}\`` : `GET /jobs/${id}/output of the HTTP API`;
          const next = isAll
            ? 'This is the whole log.'
            : isMost
              ? `This is the most that one answer holds. ${callOf('get_job_output', otherEnd)} shows the other end; ${wholeLog} gives all of it.`
              : `${callOf('get_job_output', more)} shows more.`;
          const header = `${id} ${job.status}: ${shown.lines} lines of ${showBytes(page.totalBytes)} of log${job.log_truncated ? ', which was truncated' : ''}`;
          return {
            content: [
              { type: 'text', text: `${header}\nNext: ${next}` },
              ...(shown.text === '' ? [] : [fenced(`log of ${id}`, shown.text)]),
            ],
            structuredContent: {
              job_id: id,
              status: job.status,
              output: shown.text,
              lines: shown.lines,
              omitted_lines: shown.omitted,
              log_bytes: page.totalBytes,
              log_truncated: job.log_truncated === true,
              next,
            },
          };
        }),
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
        'Makes a new job with the same command, image, variables and resources as an earlier one, and answers at once with its job_id. Files that were sent for the earlier one may be gone with it (upload_already_consumed): then use spawn_worker with `files`.',
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
