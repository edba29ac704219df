import type { JobAnswer } from '../../client/answers.ts';
import type { FlashpodsClient } from '../../client/client.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { describeWaiting, runSeconds, stateColour } from '../present-job.ts';
import { count, showAge, showDuration } from '../quantity.ts';
import { type Column, table } from '../table.ts';
import { sanitize, shorten } from '../terminal.ts';
import { ordered } from '../top/frame.ts';

export interface PsOptions {
  readonly all?: boolean;
  readonly status?: string;
  readonly label?: readonly [key: string, value: string];
  readonly limit: number;
}

const COLUMNS: readonly Column[] = [
  { title: 'ID' },
  { title: 'STATUS' },
  { title: 'COMMAND' },
  { title: 'CPUS', right: true },
  { title: 'MEMORY', right: true },
  { title: 'AGE', right: true },
  { title: 'DURATION', right: true },
  { title: 'EXIT', right: true },
  { title: 'HOST' },
];
const STATUS_COLUMN = 1;
const COMMAND_WIDTH = 40;
const OWNER_WIDTH = 30;
const EXPLAINED = 5;

/** Lists the jobs that wait or run: those on a host first, then the queue in its order. Or others, newest first. */
export async function ps(options: PsOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const status = options.status ?? (options.all ? 'all' : 'active');
  const { jobs, hosted, waiting } =
    status === 'active'
      ? await activeJobs(client, options, signal)
      : { jobs: await newest(client, status, options, signal), hosted: null, waiting: null };
  if (context.json) {
    await context.out.json({ jobs, ...(hosted === null ? {} : { total: hosted + waiting }) });
    return ExitCode.fine;
  }
  const now = Date.now();
  const showsOwners = new Set(jobs.map(({ owner }) => owner)).size > 1;
  const lines = table(
    showsOwners ? [...COLUMNS, { title: 'OWNER' }] : COLUMNS,
    jobs.map((job) => [...row(job, now), ...(showsOwners ? [shorten(job.owner ?? '-', OWNER_WIDTH)] : [])]),
    (cell, column, at) => {
      const job = jobs[at];
      return column === STATUS_COLUMN && job ? context.out.colour(stateColour(job.status), cell) : cell;
    },
  );
  await context.out.write(`${lines.join('\n')}\n`);
  await explainWaiting(jobs, waiting, now, context);
  if (hosted !== null && hosted + waiting > jobs.length) {
    const all = `${hosted.toLocaleString('en')} on hosts and ${waiting.toLocaleString('en')} waiting`;
    await context.out.line(context.out.colour('dim', `${jobs.length} jobs shown of ${all}; -n shows more`));
  }
  if (jobs.length === 0 && context.err.isTTY)
    context.notice(status === 'active' ? 'no job is waiting or running; -a shows all jobs' : 'no such jobs');
  return ExitCode.fine;
}

/** The most that one answer holds. */
const PAGE = 100;

interface ActiveJobs {
  readonly jobs: readonly JobAnswer[];
  /** Of all, shown or not. */
  readonly hosted: number;
  readonly waiting: number;
}

async function activeJobs(
  client: FlashpodsClient,
  { label, limit }: PsOptions,
  signal: AbortSignal,
): Promise<ActiveJobs> {
  const inTurn = (status: string, most: number) =>
    client.listJobs({ status, label, order: 'turn', limit: Math.min(Math.max(most, 1), PAGE) }, signal);
  const running = await inTurn('hosted', limit);
  const queue = await inTurn('waiting', limit - running.jobs.length);
  const jobs = new Map([...running.jobs, ...queue.jobs].slice(0, limit).map((job) => [job.id, job]));
  const total = running.total + queue.total;
  if (jobs.size < Math.min(limit, total))
    for await (const job of client.allJobs({ status: 'active', label }, total, signal)) {
      if (jobs.size >= limit) break;
      jobs.set(job.id, job);
    }
  const sorted = ordered([...jobs.values()]);
  return { jobs: [...sorted.running, ...sorted.waiting], hosted: running.total, waiting: queue.total };
}

async function newest(
  client: FlashpodsClient,
  status: string,
  { label, limit }: PsOptions,
  signal: AbortSignal,
): Promise<JobAnswer[]> {
  const jobs: JobAnswer[] = [];
  for await (const job of client.allJobs({ status, label }, limit, signal)) jobs.push(job);
  return jobs;
}

/** Those that are next: a long queue waits for much the same. @param all how many wait; null: those that are listed */
async function explainWaiting(
  jobs: readonly JobAnswer[],
  all: number | null,
  nowMs: number,
  { out }: CliContext,
): Promise<void> {
  const place = (job: JobAnswer): number => job.queue_position ?? Number.MAX_SAFE_INTEGER;
  const waiting = jobs.filter((job) => job.waiting_reason).sort((a, b) => place(a) - place(b));
  for (const job of waiting.slice(0, EXPLAINED))
    await out.line(out.colour('dim', `${sanitize(job.id)} ${describeWaiting(job, nowMs)}`));
  const more = (all ?? waiting.length) - Math.min(waiting.length, EXPLAINED);
  if (more > 0)
    await out.line(out.colour('dim', `${count(more, 'more job')} ${more === 1 ? 'waits' : 'wait'}`));
}

function row(job: JobAnswer, nowMs: number): readonly string[] {
  const name = job.labels?.['name'];
  const what = job.command ?? job.task ?? '';
  const ran = runSeconds(job, nowMs);
  return [
    sanitize(job.id),
    sanitize(job.status),
    shorten(name === undefined ? what : `${name}: ${what}`, COMMAND_WIDTH),
    String(job.cpus),
    `${job.memory_gb} GB`,
    showAge((nowMs - Date.parse(job.created_at)) / 1_000),
    ran === null ? '-' : showDuration(ran),
    job.exit_code === null || job.exit_code === undefined ? '-' : String(job.exit_code),
    shorten(job.host ?? '-', COMMAND_WIDTH),
  ];
}
