import type { JobAnswer } from '../../client/answers.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { runSeconds, stateColour } from '../present-job.ts';
import { showAge, showDuration } from '../quantity.ts';
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
  for (const job of jobs) {
    if (job.waiting_reason)
      await context.out.line(
        context.out.colour('dim', `${sanitize(job.id)} waits: ${sanitize(job.waiting_reason)}`),
      );
  }
  if (jobs.length === 0 && context.err.isTTY)
    context.notice(status === 'active' ? 'nothing waits or runs; -a shows all jobs' : 'no such jobs');
  return ExitCode.fine;
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
