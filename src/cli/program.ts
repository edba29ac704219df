import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { isJobState, JOB_STATES } from '../jobs/states.ts';
import { VERSION } from '../version.ts';
import { CliContext, type GlobalOptions } from './context.ts';
import { ExitCode, exitCodeOfError } from './exit-code.ts';
import type { RunOptions } from './commands/run.ts';
import type { PsOptions } from './commands/ps.ts';
import type { LogsOptions } from './commands/logs.ts';
import type { WaitOptions } from './commands/wait.ts';
import type { KillOptions } from './commands/kill.ts';
import type { GetArtifactOptions } from './commands/artifacts.ts';
import type { CreateTokenOptions } from './commands/token.ts';
import type { CliIo } from './io.ts';
import {
  gigabytes,
  integerFrom,
  keyValue,
  label,
  listed,
  minutes,
  moment,
  seconds,
  several,
} from './option-values.ts';
import { reportError } from './report.ts';
import { Output } from './terminal.ts';

/** A part of the server (`up`, `api`, `worker`) that `bin/` adds to the command. */
export interface RoleCommand {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly { readonly flags: string; readonly description: string }[];
  /** Lines under "Examples" in its help. */
  readonly examples?: readonly string[];
  /** Runs until the role has stopped. @returns the exit code */
  readonly action: (options: Readonly<Record<string, unknown>>) => Promise<number>;
}

type Settle = (context: CliContext) => Promise<number>;

/**
 * Runs one command line, `argv` without node and script. Never throws and never ends the process.
 * @returns the exit code
 */
export async function runCli(
  argv: readonly string[],
  io: CliIo,
  roles: readonly RoleCommand[] = [],
): Promise<number> {
  const outputs = { out: new Output(io.stdout, io.env), err: new Output(io.stderr, io.env) };
  let exitCode: number = ExitCode.fine;
  let json = false;
  const program = createProgram(
    io,
    async (options, settle) => {
      json = options.json === true;
      const context = new CliContext(io, outputs, options);
      try {
        exitCode = await settle(context);
      } finally {
        context.close();
      }
    },
    async (work) => {
      exitCode = await work;
    },
    roles,
  );
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      // It has printed what is to be said. Help and version end with 0; every other one is a mistake in the usage.
      exitCode = error.exitCode === 0 ? ExitCode.fine : ExitCode.usage;
    } else {
      await reportError(error, outputs.err, json);
      exitCode = exitCodeOfError(error);
    }
  }
  await Promise.all([outputs.out.flush(), outputs.err.flush()]);
  return exitCode;
}

/** The command with all its parts; nothing of a part is loaded before it is called. */
function createProgram(
  io: CliIo,
  withContext: (options: GlobalOptions, settle: Settle) => Promise<void>,
  withRole: (work: Promise<number>) => Promise<void>,
  roles: readonly RoleCommand[],
): Command {
  const program = new Command('flashpods')
    .description('Runs commands in containers, on machines of your own.')
    .version(VERSION, '-V, --version', 'print the version')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      getOutHelpWidth: () => io.stdout.columns ?? 80,
      getErrHelpWidth: () => io.stderr.columns ?? 80,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
      outputError: (text, write) => write(`flashpods: ${text.replace(/^error: /, '')}`),
    })
    .showSuggestionAfterError(true)
    .showHelpAfterError('  See --help of the command.')
    .helpCommand('help [command]', 'show the help of a command');
  addConnectionOptions(program);

  /** A command of the client, with the options that all of them have. */
  function clientCommand(usage: string, summary: string, examples: readonly string[]): Command {
    return addConnectionOptions(withExamples(program.command(usage).description(summary), examples));
  }

  /** Makes commander's action of a command that is loaded when it is called. */
  function settling<Options extends object>(
    load: (args: readonly string[], options: Options, context: CliContext) => Promise<number>,
  ): (this: Command) => Promise<void> {
    return function (this: Command): Promise<void> {
      const options = this.optsWithGlobals<Options & GlobalOptions>();
      return withContext(options, (context) => load(this.args, options, context));
    };
  }

  for (const role of roles) {
    const command = withExamples(program.command(role.name).description(role.summary), role.examples ?? []);
    for (const { flags, description } of role.options) command.option(flags, description);
    command.action(async (options: Readonly<Record<string, unknown>>) => withRole(role.action(options)));
  }

  clientCommand('run', 'run a command as a job, follow it and exit with its exit code', [
    'flashpods run -- make test',
    "flashpods run --image node:24 -- 'npm ci && npm test | tee /artifacts/log'",
    "flashpods run --files . --artifacts out -- 'cp -r . /tmp/b && cd /tmp/b && make && cp app /artifacts'",
    'flashpods run --cpus 4 --memory 8 --timeout 1h --detach -- ./long-build',
  ])
    .argument('<command...>', 'one argument is a shell command as it is; several are its words')
    .passThroughOptions()
    .option('--image <image>', 'image to run in')
    .option('--cpus <number>', 'cpus', integerFrom(1))
    .option('--memory <gigabytes>', 'memory, GB', gigabytes)
    .option('--timeout <time>', 'ends the job after so long; minutes unless it says 90m or 2h', minutes)
    .option('--files <directory>', 'send a directory; the job sees it in /work')
    .option(
      '--exclude <name>',
      'leave out files and directories of that name, or a path; repeatable',
      several,
    )
    .option('--artifacts <directory>', 'fetch what the job leaves in /artifacts to here')
    .option('--force', 'let artifacts overwrite files')
    .option('-e, --env <key=value>', 'set a variable of the job; repeatable', keyValue)
    .addOption(new Option('--network <kind>', 'what the job may reach').choices(['internet', 'none']))
    .option('--priority <number>', '1 (first) to 10 (last)', integerFrom(1, 10))
    .option('-l, --label <key=value>', 'label of the job; repeatable', keyValue)
    .option('--name <name>', 'name of the job, kept as its label `name`')
    .addOption(
      new Option('--when-busy <what>', 'when there is no room: wait, or be turned away').choices([
        'queue',
        'reject',
      ]),
    )
    .option(
      '--max-queue <time>',
      'give up when the job has not started after so long; seconds unless it says 5m',
      seconds,
    )
    .option('-t, --timestamps', 'show when each line was printed')
    .option('-d, --detach', 'print the id of the job and leave it')
    .action(
      settling<RunOptions>(async (args, options, context) =>
        (await import('./commands/run.ts')).run(args, options, context),
      ),
    );

  clientCommand('ps', 'list jobs', [
    'flashpods ps',
    'flashpods ps -a --limit 50',
    'flashpods ps --status failed --json',
  ])
    .option('-a, --all', 'also those that have ended')
    .option('--status <state>', 'only those in a state, such as queued or failed', jobStatus)
    .option('-l, --label <key=value>', 'only those with a label', label)
    .option('-n, --limit <number>', 'at most so many', integerFrom(1, 10_000), 20)
    .action(
      settling<PsOptions>(async (_args, options, context) =>
        (await import('./commands/ps.ts')).ps(options, context),
      ),
    );

  clientCommand('logs', 'print the log of a job', [
    'flashpods logs job_…',
    'flashpods logs -f --tail 20 job_…',
  ])
    .argument('<job>', 'id of the job')
    .option('-f, --follow', 'go on until the job ends')
    .option('-n, --tail <lines>', 'begin so many lines before the end', integerFrom(1, 10_000))
    .option('-t, --timestamps', 'show when each line was printed')
    .action(
      settling<LogsOptions>(async ([id = ''], options, context) =>
        (await import('./commands/logs.ts')).logs(id, options, context),
      ),
    );

  clientCommand('wait', 'wait for the end of a job and exit with its exit code', [
    'flashpods wait job_…',
    'flashpods wait --timeout 5m job_…',
  ])
    .argument('<job>', 'id of the job')
    .option(
      '--timeout <time>',
      'give up after so long, with exit code 124; seconds unless it says 5m',
      seconds,
    )
    .action(
      settling<WaitOptions>(async ([id = ''], options, context) =>
        (await import('./commands/wait.ts')).wait(id, options, context),
      ),
    );

  clientCommand('kill', 'cancel jobs', ['flashpods kill job_…', 'flashpods kill --label suite=nightly'])
    .argument('[jobs...]', 'ids of jobs')
    .option('-l, --label <key=value>', 'all that wait or run and have this label', label)
    .action(
      settling<KillOptions>(async (args, options, context) =>
        (await import('./commands/kill.ts')).kill(args, options, context),
      ),
    );

  const artifacts = clientCommand('artifacts', 'list what a job left in /artifacts, or get it', [
    'flashpods artifacts job_…',
    'flashpods artifacts get job_… reports/junit.xml -o junit.xml',
  ])
    .argument('<job>', 'id of the job')
    .action(
      settling(async ([id = ''], _options, context) =>
        (await import('./commands/artifacts.ts')).listArtifacts(id, context),
      ),
    );
  addConnectionOptions(artifacts.command('get').description('fetch one artifact'))
    .argument('<job>', 'id of the job')
    .argument('<name>', 'name of the artifact')
    .option('-o, --output <path>', 'file or directory to write to')
    .option('--force', 'overwrite a file')
    .action(
      settling<GetArtifactOptions>(async ([id = '', name = ''], options, context) =>
        (await import('./commands/artifacts.ts')).getArtifact(id, name, options, context),
      ),
    );

  clientCommand('status', 'health, hosts and queue of the server', [
    'flashpods status',
    'flashpods status --json',
  ]).action(
    settling(async (_args, _options, context) => (await import('./commands/status.ts')).status(context)),
  );

  addTokenCommands(clientCommand, settling);

  return program;
}

type ClientCommand = (usage: string, summary: string, examples: readonly string[]) => Command;
type Settling = <Options extends object>(
  load: (args: readonly string[], options: Options, context: CliContext) => Promise<number>,
) => (this: Command) => Promise<void>;

function addTokenCommands(clientCommand: ClientCommand, settling: Settling): void {
  const token = clientCommand('token', 'make, list and revoke tokens; needs one with the scope admin', [
    'flashpods token create ci --owner builds',
    'flashpods token create reader --owner builds --scope jobs:read --expires 90d',
    'flashpods token list',
    'flashpods token revoke ci',
  ]);
  addConnectionOptions(token.command('create').description('make a token and print it, this once'))
    .argument('<name>', 'name to list and revoke it by')
    .requiredOption('--owner <owner>', 'whose jobs and uploads it makes and sees')
    .option(
      '--scope <scopes>',
      'jobs:read, jobs:write, uploads:write, admin; repeatable; the first three unless given',
      listed,
    )
    .option('--expires <time>', 'opens nothing after 90d, 12h, 30m, or a date; never unless given', moment)
    .action(
      settling<CreateTokenOptions>(async ([name = ''], options, context) =>
        (await import('./commands/token.ts')).createToken(name, options, context),
      ),
    );
  addConnectionOptions(token.command('list').description('list tokens by name')).action(
    settling(async (_args, _options, context) => (await import('./commands/token.ts')).listTokens(context)),
  );
  addConnectionOptions(token.command('revoke').description('let a token open nothing any longer'))
    .argument('<name>', 'name of the token')
    .action(
      settling(async ([name = ''], _options, context) =>
        (await import('./commands/token.ts')).revokeToken(name, context),
      ),
    );
}

function addConnectionOptions(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option('--url <url>', 'address of the server (FLASHPODS_URL)')
    .addOption(new Option('--host <host>', 'host of the server (FLASHPODS_HOST)').hideHelp())
    .addOption(new Option('--port <port>', 'port of the server (FLASHPODS_PORT)').hideHelp())
    .option('--token <token>', 'bearer token; safer as FLASHPODS_API_TOKEN');
}

function withExamples(command: Command, examples: readonly string[]): Command {
  if (examples.length === 0) return command;
  return command.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);
}

function jobStatus(value: string): string {
  if (value === 'all' || value === 'active' || isJobState(value)) return value;
  throw new InvalidArgumentError(`It must be active, all, or one of ${JOB_STATES.join(', ')}.`);
}
