/** Tools that make jobs. */
import { z } from 'zod';
import type { CreatedJob } from '../../client/answers.ts';
import { ClientError } from '../../client/client-error.ts';
import { FlashpodsError } from '../../errors.ts';
import type { AgentRequest, JobRequest, WorkerRequest } from '../../jobs/description/types.ts';
import type { Backend, LocalFiles } from '../backend.ts';
import { type CallContext, tool, type Tool } from '../definition.ts';
import { fullReport, type JobReport, reportResult, reportSchema, statusReport } from '../job-report.ts';
import { callOf } from '../next-step.ts';
import { DEFAULT_WAIT_SECONDS, inTime } from '../patience.ts';
import { absolute, type FilesToSend, type Submission, type Submissions } from '../submissions.ts';
import { clip, printable } from '../printable.ts';
import { taskOf } from '../tasks.ts';
import { describePhase, waitForCreation, waitForEnd, type Waiting } from '../wait.ts';
import { briefFiles, CREATES, files, waitSeconds } from './arguments.ts';
import { jobArguments } from './job-arguments.ts';

export interface Shop {
  readonly backend: Backend;
  readonly submissions: Submissions;
  /** The client's disk; null over HTTP. */
  readonly files: LocalFiles | null;
}

const NO_FILES =
  'no local files can be sent over this connection. Let the command fetch what it needs (git clone, curl).';
const NO_ROOT = 'this server lets no job be root.';

const NO_DISK =
  ' Over this connection no local files can be sent: the command has to fetch what it needs (git clone, curl). With `flashpods mcp` on the own machine this tool takes `files`.';

interface FilesArgument {
  readonly local_path: string;
  readonly exclude?: readonly string[] | undefined;
  readonly include?: readonly string[] | undefined;
  readonly git?: boolean | undefined;
}

interface Given {
  readonly files?: FilesArgument | undefined;
  readonly client_job_id?: string | undefined;
}
/** What {@link jobArguments} let through. */
type WorkerArguments = Omit<WorkerRequest, 'type' | 'client_job_id'>;
type AgentArguments = Omit<AgentRequest, 'type' | 'client_job_id'>;

/** A way to make a job: what it is called with, and what is asked of the API then. */
interface Making {
  readonly shop: Shop;
  readonly name: string;
  readonly args: Given;
  readonly request: JobRequest;
  readonly keepGit: boolean;
}

interface Offer {
  /** The client's disk is this machine's. */
  readonly local: boolean;
  /** Jobs may ask for `root`. */
  readonly root: boolean;
}

function inputsOf({ local, root }: Offer) {
  const disk = local ? { files: files.optional() } : {};
  const worker = (explained: boolean): Record<string, z.ZodType> => {
    const { root: asRoot, ...others } = jobArguments('worker', explained);
    return { ...others, ...(root && asRoot ? { root: asRoot } : {}) };
  };
  const brief = local ? { files: briefFiles.optional() } : {};
  const workerInput = z.strictObject({ ...worker(false), ...brief });
  const runInput = z.strictObject({ ...worker(true), ...disk, wait_seconds: waitSeconds });
  const repository = local
    ? {
        files: briefFiles
          .optional()
          .describe('a directory with its .git, instead of git_url; .git is always sent'),
      }
    : {};
  const { root: asRootAgent, ...agentOthers } = jobArguments('agent', false);
  const agentRoot = root && asRootAgent ? { root: asRootAgent } : {};
  const agentInput = z.strictObject({ ...agentOthers, ...agentRoot, ...repository });
  return { workerInput, runInput, agentInput };
}

// Once for all sessions: a schema takes more memory than anything else of a session.
const INPUTS = new Map<string, ReturnType<typeof inputsOf>>();

function inputsFor(offer: Offer): ReturnType<typeof inputsOf> {
  const key = `${offer.local} ${offer.root}`;
  const inputs = INPUTS.get(key) ?? inputsOf(offer);
  INPUTS.set(key, inputs);
  return inputs;
}

/**
 * @param agents whether sub-agents can be started
 * @param root whether jobs may ask for `root`
 */
export function spawnTools(
  shop: Shop,
  { agents, root }: { readonly agents: boolean; readonly root: boolean },
): Tool[] {
  const { workerInput, runInput, agentInput } = inputsFor({ local: shop.files !== null, root });
  const notHere = { ...(shop.files ? {} : { files: NO_FILES }), ...(root ? {} : { root: NO_ROOT }) };
  const worker = (name: string, args: z.output<typeof workerInput>): Making => {
    const { files: _files, client_job_id: _id, ...rest } = args as Given & WorkerArguments;
    return { shop, name, args: args as Given, request: { ...rest, type: 'worker' }, keepGit: false };
  };
  const agent = (args: z.output<typeof agentInput>): Making => {
    const { files: _files, client_job_id: _id, ...rest } = args as Given & AgentArguments;
    if (_files === undefined && rest.git_url === undefined) {
      throw new FlashpodsError(
        'invalid_request',
        shop.files
          ? 'spawn_sub_agent needs something to work on: `git_url`, or `files` with a .git.'
          : 'spawn_sub_agent needs something to work on: `git_url`.',
      );
    }
    const request: AgentRequest = { ...rest, type: 'agent' };
    return { shop, name: 'spawn_sub_agent', args: args as Given, request, keepGit: true };
  };

  return [
    tool({
      name: 'run_command',
      title: 'Run a command and wait',
      description:
        'Runs a shell command in a fresh container on the build farm and waits for its end: status, exit code, last lines of the log, lines that look like the error, artifacts. For builds, tests and anything that is too heavy or too risky for this machine. If it has not ended after wait_seconds it goes on, and the answer says how to wait on.' +
        (shop.files ? '' : NO_DISK),
      input: runInput,
      notHere,
      output: reportSchema,
      annotations: { ...CREATES, title: 'Run a command and wait' },
      async call(args, context) {
        const { wait_seconds: seconds = DEFAULT_WAIT_SECONDS, ...rest } = args;
        return reportResult(await runAndWait(worker('run_command', rest), seconds, context));
      },
      async start(args, context) {
        const { wait_seconds: _seconds, ...rest } = args;
        return startTask(worker('run_command', rest), context);
      },
    }),
    tool({
      name: 'spawn_worker',
      title: 'Start a command',
      description:
        'Starts a shell command as run_command does, with the same arguments, and answers at once with its job_id; wait_for_job waits for its end. For a job that takes long.' +
        (shop.files ? '' : NO_DISK),
      input: workerInput,
      notHere,
      output: reportSchema,
      annotations: { ...CREATES, title: 'Start a command' },
      call: async (args, context) => reportResult(await spawn(worker('spawn_worker', args), context)),
    }),
    ...(agents ? [subAgent()] : []),
  ];

  function subAgent(): Tool {
    return tool({
      name: 'spawn_sub_agent',
      title: 'Start a sub-agent',
      description:
        'Starts an autonomous coding agent in a container of its own and answers at once with its job_id. It gets the repository read-write in /work and gives its result as artifacts (a patch, for instance). For a task that can be described completely and done without questions. wait_for_job waits for its end. Other arguments are as in run_command.' +
        (shop.files ? '' : ' Over this connection no local files can be sent: give git_url.'),
      input: agentInput,
      notHere,
      output: reportSchema,
      annotations: { ...CREATES, title: 'Start a sub-agent' },
      call: async (args, context) => reportResult(await spawn(agent(args), context)),
      start: async (args, context) => startTask(agent(args), context),
    });
  }
}

/** @throws ClientError path_not_allowed */
async function submit({ shop, args, request, keepGit }: Making, context: CallContext): Promise<Submission> {
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

async function allowed({ files }: Shop, path: string, context: CallContext): Promise<string> {
  if (files === null) throw new Error('files can’t be sent over this connection');
  return files.fence.inside(absolute(path), 'files.local_path', () => context.roots());
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

const waitingOf = (context: CallContext, signal: AbortSignal, seconds: number): Waiting => {
  const beganMs = performance.now();
  return { beganMs, untilMs: beganMs + seconds * 1_000, context, signal };
};

async function spawn(making: Making, context: CallContext): Promise<JobReport> {
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

async function runAndWait(making: Making, seconds: number, context: CallContext): Promise<JobReport> {
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
          ...(await reportAfterWait(backend, created.job_id, waiting)),
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

async function startTask(making: Making, context: CallContext): ReturnType<NonNullable<Tool['start']>> {
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

const identity = (
  { created, notes = [] }: CreatedJob,
  submission: Submission,
  args: Given,
): Partial<JobReport> => ({
  created,
  ...notesOf([...notes, ...submission.notes]),
  ...(args.client_job_id === undefined ? {} : { client_job_id: args.client_job_id }),
});

/** What fails once the job exists must not hide that it does. */
async function known<T>({ job_id: id }: CreatedJob, work: () => Promise<T>): Promise<T> {
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

const notesOf = (notes: readonly string[]): Partial<JobReport> =>
  notes.length === 0 ? {} : { notes: notes.map((note) => clip(printable(note), 1_000)) };

function stillSending({ name }: Making, { clientJobId: id, phase, notes }: Submission): JobReport {
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
