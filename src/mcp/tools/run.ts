/** `run_command` as it is called: one command or several, what is shown of the log, where artifacts go. */
import { z } from 'zod';
import type { CreatedJob } from '../../client/answers.ts';
import { FlashpodsError } from '../../errors.ts';
import type { Backend } from '../backend.ts';
import type { CallContext } from '../definition.ts';
import { fullReport, type JobReport } from '../job-report.ts';
import {
  identity,
  known,
  type Making,
  notesOf,
  reportAfterWait,
  type Shop,
  stillSending,
  submit,
  waitingOf,
} from '../making.ts';
import { type Shown, shownOf } from '../output-shown.ts';
import { DEFAULT_WAIT_SECONDS, inTime } from '../patience.ts';
import type { OneOfSeveral } from '../several-jobs.ts';
import { absolute, type Submission } from '../submissions.ts';
import { waitForCreation, waitForEnd, type Waiting } from '../wait.ts';

/** Commands of one call, and jobs of one wait, at most. */
export const MAX_AT_ONCE = 16;

export const severalCommands = {
  commands: z
    .array(z.string().min(1))
    .max(MAX_AT_ONCE)
    .optional()
    .describe('several, in place of command: one after another in one job, until one fails'),
  side_by_side: z.boolean().optional().describe('of commands: each in a job of its own, all at once'),
};
export const downloadTo = z
  .string()
  .min(1)
  .optional()
  .describe('absolute path of a directory of this machine: artifacts are saved there at the end');

interface RunArguments extends Shown {
  readonly command?: string;
  readonly commands?: readonly string[];
  readonly side_by_side?: boolean;
  readonly wait_seconds?: number;
  readonly download_to?: string;
  readonly [name: string]: unknown;
}

interface RunAsked {
  readonly run: { readonly command: string };
  readonly seconds: number;
  readonly shown: Shown | null;
  readonly downloadTo: string | undefined;
  /** Commands of jobs that run side by side. */
  readonly jobs: readonly string[] | null;
}

/** @throws FlashpodsError invalid_request for arguments that do not go together */
export function readRun(args: object): RunAsked {
  const {
    command,
    commands = [],
    side_by_side: sideBySide = false,
    wait_seconds: seconds = DEFAULT_WAIT_SECONDS,
    tail,
    head,
    grep,
    download_to: downloadTo,
    ...run
  } = args as RunArguments;
  const all = command === undefined ? commands : [command, ...commands];
  if (all.length === 0)
    throw new FlashpodsError('missing_command', 'run_command needs `command` or `commands`.');
  const jobs = sideBySide && all.length > 1 ? all : null;
  const shown = shownOf({ tail, head, grep });
  if (jobs && (shown || downloadTo !== undefined || run['client_job_id'] !== undefined))
    throw new FlashpodsError(
      'invalid_request',
      '`side_by_side` does not go together with `tail`, `head`, `grep`, `download_to` and `client_job_id`.',
    );
  return { run: { ...run, command: inTurn(all) }, seconds, shown, downloadTo, jobs };
}

/** One command: each line `$ …` says which runs, and the first that fails ends it. What one sets the next one has. */
function inTurn(commands: readonly string[]): string {
  const [only, another] = commands;
  if (only !== undefined && another === undefined) return only;
  return commands.map((each) => `{ printf '%s\\n' ${quotedLine(each)}\n${each}\n}`).join(' && ');
}

const quotedLine = (command: string): string =>
  `'$ ${(command.split('\n')[0] ?? '').slice(0, 200).replaceAll("'", `'\\''`)}'`;

/** Each is a job of its own; files are read once for each, and travel once. */
export async function runSideBySide(
  makings: readonly Making[],
  seconds: number,
  context: CallContext,
): Promise<OneOfSeveral[]> {
  const submissions: Submission[] = [];
  try {
    return await inTime(
      context.signal,
      async (signal) => {
        const waiting = waitingOf(context, signal, seconds);
        const made: { making: Making; submission: Submission; created: CreatedJob | null }[] = [];
        for (const making of makings) {
          const submission = await submit(making, context);
          submissions.push(submission);
          made.push({ making, submission, created: await waitForCreation(submission, waiting) });
        }
        return Promise.all(
          made.map(async ({ making, submission, created }) => {
            const command = 'command' in making.request ? making.request.command : undefined;
            if (!created) return { command, report: stillSending(making, submission) };
            const report = await known(created, () =>
              reportAfterWait(making.shop.backend, created.job_id, quietly(waiting)),
            );
            return { command, report: { ...report, ...identity(created, submission, making.args) } };
          }),
        );
      },
      seconds,
    );
  } finally {
    if (context.withdrawn) for (const submission of submissions) submission.withdraw();
  }
}

/** Progress of several waits would be out of order. */
const quietly = (waiting: Waiting): Waiting => ({
  ...waiting,
  context: {
    signal: waiting.context.signal,
    get withdrawn() {
      return waiting.context.withdrawn;
    },
    roots: () => waiting.context.roots(),
    wantsProgress: false,
    progress: async () => undefined,
  },
});

/** Waits for all of them, or for the first end, and reports each as it is then. */
export async function reportsAfterWait(
  backend: Backend,
  ids: readonly string[],
  waiting: Waiting,
  until: 'all' | 'first',
): Promise<OneOfSeveral[]> {
  const over = new AbortController();
  const signal = AbortSignal.any([waiting.signal, over.signal]);
  const waits = ids.map(async (id) => waitForEnd(backend, id, { ...quietly(waiting), signal }));
  try {
    if (until === 'first') await Promise.race(waits);
    else await Promise.all(waits);
  } finally {
    over.abort();
    await Promise.allSettled(waits);
  }
  return Promise.all(
    ids.map(async (id) => {
      const job = await backend.getJob(id, { signal: waiting.signal });
      return {
        command: job.command ?? job.task ?? undefined,
        report: await fullReport(backend, job, waiting.signal),
      };
    }),
  );
}

/** What a job that ended left, into a directory of the client; what could not be written is a note. */
export async function withArtifacts(
  { backend, files }: Shop,
  report: JobReport,
  to: string | undefined,
  context: CallContext,
): Promise<JobReport> {
  if (to === undefined || !files || !report.ended || report.job_id === undefined || !report.artifact_count)
    return report;
  const { signal } = context;
  const list = await backend.artifacts(report.job_id, signal);
  const target = await files.fence.toWrite(absolute(to), 'download_to', () => context.roots());
  const options = { force: false, signal, match: [] };
  const { failed } = await files.saveTree(report.job_id, list, target, options);
  const problems = failed.slice(0, MAX_PROBLEMS).map(({ message }) => `Not saved: ${message}`);
  return {
    ...report,
    downloaded_to: target,
    ...notesOf([...(report.notes ?? []), ...problems, ...(list.warnings ?? [])]),
  };
}

const MAX_PROBLEMS = 10;
