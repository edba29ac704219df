/** Tools that make jobs. */
import { z } from 'zod';
import { FlashpodsError } from '../../errors.ts';
import type { AgentRequest, WorkerRequest } from '../../jobs/description/types.ts';
import { tool, type Tool } from '../definition.ts';
import { reportResult, reportSchema } from '../job-report.ts';
import { type Given, type Making, runAndWait, type Shop, spawn, startTask } from '../making.ts';
import { shownArguments } from '../output-shown.ts';
import { severalResult } from '../several-jobs.ts';
import { briefFiles, CREATES, files, waitSeconds } from './arguments.ts';
import { jobArguments } from './job-arguments.ts';
import { downloadTo, readRun, runSideBySide, severalCommands, withArtifacts } from './run.ts';

const NO_FILES =
  'no local files can be sent over this connection. Let the command fetch what it needs (git clone, curl).';
const NO_ROOT = 'this server lets no job be root.';

const NO_DISK =
  ' Over this connection no local files can be sent: the command has to fetch what it needs (git clone, curl). With `flashpods mcp` on the own machine this tool takes `files`.';

/** What {@link jobArguments} let through. */
type WorkerArguments = Omit<WorkerRequest, 'type' | 'client_job_id'>;
type AgentArguments = Omit<AgentRequest, 'type' | 'client_job_id'>;

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
  const { command, ...others } = worker(true);
  const runInput = z.strictObject({
    ...(command === undefined ? {} : { command: command.optional() }),
    ...severalCommands,
    ...others,
    ...disk,
    ...(local ? { download_to: downloadTo } : {}),
    ...shownArguments(true),
    wait_seconds: waitSeconds,
  });
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
        const { run, seconds, shown, downloadTo, jobs } = readRun(args);
        if (jobs) {
          const makings = jobs.map((command) => worker('run_command', { ...run, command }));
          return severalResult(await runSideBySide(makings, seconds, context));
        }
        const report = await runAndWait(worker('run_command', run), seconds, context, shown);
        return reportResult(await withArtifacts(shop, report, downloadTo, context));
      },
      async start(args, context) {
        const { run, jobs } = readRun(args);
        if (jobs) throw new FlashpodsError('invalid_request', 'A task is one job: leave out `side_by_side`.');
        return startTask(worker('run_command', run), context);
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
