import type { JobAnswer } from '../../client/answers.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { describeWaiting, runSeconds, stateColour } from '../present-job.ts';
import { count, showAge, showDuration } from '../quantity.ts';
import { type Column, table } from '../table.ts';
import { sanitize, shorten } from '../terminal.ts';

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
const EXPLAINED = 5;

/** Lists jobs, newest first; those that wait or run unless told otherwise. */
export async function ps(options: PsOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const status = options.status ?? (options.all ? 'all' : 'active');
  const jobs: JobAnswer[] = [];
  for await (const job of client.allJobs({ status, label: options.label }, options.limit, signal))
    jobs.push(job);
  if (context.json) {
    await context.out.json({ jobs });
    return ExitCode.fine;
  }
  const now = Date.now();
  const lines = table(
    COLUMNS,
    jobs.map((job) => row(job, now)),
    (cell, column, at) => {
      const job = jobs[at];
      return column === STATUS_COLUMN && job ? context.out.colour(stateColour(job.status), cell) : cell;
    },
  );
  await context.out.write(`${lines.join('\n')}\n`);
  await explainWaiting(jobs, now, context);
  if (jobs.length === 0 && context.err.isTTY)
    context.notice(status === 'active' ? 'nothing waits or runs; -a shows all jobs' : 'no such jobs');
  return ExitCode.fine;
}

/** Those that are next: a long queue waits for much the same. */
async function explainWaiting(jobs: readonly JobAnswer[], nowMs: number, { out }: CliContext): Promise<void> {
  const place = (job: JobAnswer): number => job.queue_position ?? Number.MAX_SAFE_INTEGER;
  const waiting = jobs.filter((job) => job.waiting_reason).sort((a, b) => place(a) - place(b));
  for (const job of waiting.slice(0, EXPLAINED))
    await out.line(out.colour('dim', `${sanitize(job.id)} ${describeWaiting(job, nowMs)}`));
  const more = waiting.length - EXPLAINED;
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
