/** Jobs on behalf of a call: made, waited for, and reported. */
import type { CreatedJob } from '../client/answers.ts';
import { ClientError } from '../client/client-error.ts';
import { FlashpodsError } from '../errors.ts';
import type { JobRequest } from '../jobs/description/types.ts';
import type { Backend, LocalFiles } from './backend.ts';
import type { CallContext, Tool } from './definition.ts';
import { fullReport, type JobReport, statusReport } from './job-report.ts';
import { callOf } from './next-step.ts';
import { type Shown, withShown } from './output-shown.ts';
import { DEFAULT_WAIT_SECONDS, inTime } from './patience.ts';
import { clip, printable } from './printable.ts';
import { absolute, type FilesToSend, type Submission, type Submissions } from './submissions.ts';
import { taskOf } from './tasks.ts';
import { describePhase, waitForCreation, waitForEnd, type Waiting } from './wait.ts';

export interface Shop {
  readonly backend: Backend;
  readonly submissions: Submissions;
  /** The client's disk; null over HTTP. */
  readonly files: LocalFiles | null;
}

interface FilesArgument {
  /** Left out: the directory that the person opened. */
  readonly local_path?: string | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly include?: readonly string[] | undefined;
  readonly git?: boolean | undefined;
}

export interface Given {
  readonly files?: FilesArgument | undefined;
  readonly client_job_id?: string | undefined;
}
/** A way to make a job: what it is called with, and what is asked of the API then. */
export interface Making {
  readonly shop: Shop;
  readonly name: string;
  readonly args: Given;
  readonly request: JobRequest;
  readonly keepGit: boolean;
}

/** @throws ClientError path_not_allowed */
export async function submit(
  { shop, args, request, keepGit }: Making,
  context: CallContext,
): Promise<Submission> {
  const toSend: FilesToSend | null = args.files
    ? {
        localPath: await allowed(shop, args.files.local_path, context),
        exclude: args.files.exclude ?? [],
        include: args.files.include ?? [],
        git: keepGit || (args.files.git ?? false),
        needsGit: keepGit,
      }
    : null;
  return shop.submissions.submit(request, toSend, args.client_job_id);
}

async function allowed({ files }: Shop, path: string | undefined, context: CallContext): Promise<string> {
  if (files === null) throw new Error('files can’t be sent over this connection');
  const ask = (): Promise<readonly string[] | null> => context.roots();
  if (path === undefined) return files.fence.first('files.local_path', ask);
  return files.fence.toRead(absolute(path), 'files.local_path', ask);
}

/** Withdraws the submission when the client took its call back on purpose. */
async function withdrawing<T>(
  submission: Submission,
  context: CallContext,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } finally {
    if (context.withdrawn) submission.withdraw();
  }
}

export const waitingOf = (context: CallContext, signal: AbortSignal, seconds: number): Waiting => {
  const beganMs = performance.now();
  return { beganMs, untilMs: beganMs + seconds * 1_000, context, signal };
};

export async function spawn(making: Making, context: CallContext): Promise<JobReport> {
  const submission = await submit(making, context);
  return withdrawing(submission, context, () =>
    inTime(context.signal, async (signal) => {
      const waiting = waitingOf(context, signal, DEFAULT_WAIT_SECONDS);
      const created = await waitForCreation(submission, waiting);
      if (!created) return stillSending(making, submission);
      const { backend } = making.shop;
      const job = await known(created, () => backend.getJob(created.job_id, { signal }));
      return { ...statusReport(job), ...identity(created, submission, making.args) };
    }),
  );
}

export async function runAndWait(
  making: Making,
  seconds: number,
  context: CallContext,
  shown: Shown | null = null,
): Promise<JobReport> {
  const submission = await submit(making, context);
  return withdrawing(submission, context, () =>
    inTime(
      context.signal,
      async (signal) => {
        const waiting = waitingOf(context, signal, seconds);
        const created = await waitForCreation(submission, waiting);
        if (!created) return stillSending(making, submission);
        const { backend } = making.shop;
        return known(created, async () => ({
          ...(await withShown(
            backend,
            await reportAfterWait(backend, created.job_id, waiting),
            shown,
            signal,
          )),
          ...identity(created, submission, making.args),
        }));
      },
      seconds,
    ),
  );
}

/** Waits, and reports the job as it is then. */
export async function reportAfterWait(backend: Backend, id: string, waiting: Waiting): Promise<JobReport> {
  const job = await waitForEnd(backend, id, waiting);
  const report = await fullReport(backend, job, waiting.signal);
  if (report.ended) return report;
  const again = callOf('wait_for_job', { job_id: id });
  const kill = callOf('kill_job', { job_id: id });
  return {
    ...report,
    poll_timeout: true,
    next: `It has not ended and goes on. Call ${again} again until \`ended\` is true; ${kill} ends it.`,
  };
}

export async function startTask(
  making: Making,
  context: CallContext,
): ReturnType<NonNullable<Tool['start']>> {
  const submission = await submit(making, context);
  return withdrawing(submission, context, () =>
    inTime(context.signal, async (signal) => {
      const created = await waitForCreation(submission, waitingOf(context, signal, DEFAULT_WAIT_SECONDS));
      if (!created) {
        const advice = `Call again with client_job_id ${submission.clientJobId}: the files are sent meanwhile.`;
        throw new ClientError('poll_timeout', 'The files are not sent yet.', { advice });
      }
      const { backend } = making.shop;
      return taskOf(await known(created, () => backend.getJob(created.job_id, { signal })));
    }),
  );
}

export const identity = (
  { created, notes = [] }: CreatedJob,
  submission: Submission,
  args: Given,
): Partial<JobReport> => ({
  created,
  ...notesOf([...notes, ...submission.notes]),
  ...(args.client_job_id === undefined ? {} : { client_job_id: args.client_job_id }),
});

/** What fails once the job exists must not hide that it does. */
export async function known<T>({ job_id: id }: CreatedJob, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ClientError || error instanceof FlashpodsError)) throw error;
    const message = `${error.message} The job ${id} was created all the same and goes on: wait_for_job waits for it.`;
    const options = { details: { ...error.details, job_id: id }, cause: error };
    if (error instanceof FlashpodsError) throw new FlashpodsError(error.code, message, options);
    const { code, status, requestId } = error;
    throw new ClientError(code, message, {
      ...options,
      status: status ?? undefined,
      requestId: requestId ?? undefined,
    });
  }
}

export const notesOf = (notes: readonly string[]): Partial<JobReport> =>
  notes.length === 0 ? {} : { notes: notes.map((note) => clip(printable(note), 1_000)) };

export function stillSending({ name }: Making, { clientJobId: id, phase, notes }: Submission): JobReport {
  return {
    status: 'uploading',
    ended: false,
    waiting_reason: `Still ${describePhase(phase)}.`,
    client_job_id: id,
    poll_timeout: true,
    ...notesOf(notes),
    next: `The files are sent meanwhile. Call ${name} again with the same arguments and "client_job_id":"${id}": it goes on where this call stopped and makes one job.`,
  };
}
