import { Argument, Command, CommanderError } from 'commander';
import { ClientError } from '../client/client-error.ts';
import { systemCode } from '../errors.ts';
import { VERSION } from '../version.ts';
import { addConnectionOptions, settlingWith, withExamples, type WithContext } from './command-builder.ts';
import type { CommandEntry } from './completion/catalogue.ts';
import { CliContext } from './context.ts';
import { ExitCode, exitCodeOfError } from './exit-code.ts';
import type { CliIo } from './io.ts';
import { addJobCommands } from './job-commands.ts';
import { reportError } from './report.ts';
import { addServerCommands } from './server-commands.ts';
import { Output } from './terminal.ts';

export interface RoleOption {
  readonly flags: string;
  readonly description: string;
}

/** A part of the server (`up`, `api`, `worker`) that `bin/` adds to the command. */
export interface RoleCommand {
  readonly name: string;
  readonly summary: string;
  /** What it must be told to do, if it can do several things. */
  readonly actions?: readonly string[];
  /** Asked for when the role is named on the command line. */
  readonly options: () => Promise<readonly RoleOption[]>;
  /** Lines under "Examples" in its help. */
  readonly examples?: readonly string[];
  /** Runs until the role has stopped. @param action one of `actions` @returns the exit code */
  readonly action: (options: Readonly<Record<string, unknown>>, action: string) => Promise<number>;
}

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
  // What commander refuses it refuses before it has read the options; those of a job's command don't count.
  let json = wantsJson(argv);
  const program = createProgram(
    io,
    json,
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
  const passesCode = passesJobCode(argv, program);
  try {
    await addRoleOptions(program, roles, argv);
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      // It has printed what is to be said. Help and version end with 0; every other one is a mistake in the usage.
      const refused = passesCode ? ExitCode.ownFailure : ExitCode.usage;
      exitCode = error.exitCode === 0 ? ExitCode.fine : refused;
      if (json && exitCode !== ExitCode.fine) await reportError(usageError(error), outputs.err, json);
    } else {
      await reportError(error, outputs.err, json);
      exitCode = exitCodeOfError(error, passesCode);
    }
  }
  await Promise.all([outputs.out.flush(), outputs.err.flush()]);
  for (const [name, { failure }, other] of [
    ['stdout', outputs.out, outputs.err],
    ['stderr', outputs.err, outputs.out],
  ] as const) {
    if (!failure) continue;
    await other.line(`flashpods: ${name} can't be written (${systemCode(failure) ?? failure.message}).`);
    await other.flush();
    exitCode ||= passesCode ? ExitCode.ownFailure : ExitCode.error;
  }
  return exitCode;
}

/** The commands of the program as data, for completion. */
export async function describeProgram(io: CliIo, roles: readonly RoleCommand[]): Promise<CommandEntry> {
  const nothing = (): Promise<void> => Promise.resolve();
  const program = createProgram(io, false, nothing, nothing, roles);
  await addRoleOptions(
    program,
    roles,
    roles.map(({ name }) => name),
  );
  const { describeCommand } = await import('./completion/describe.ts');
  return describeCommand(program);
}

/** The command with all its parts; nothing of a part is loaded before it is called. */
function createProgram(
  io: CliIo,
  json: boolean,
  withContext: WithContext,
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
      writeErr: (text) => void (json || io.stderr.write(text)),
      getOutHelpWidth: () => io.stdout.columns ?? 80,
      getErrHelpWidth: () => io.stderr.columns ?? 80,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
      outputError: (text, write) => write(`flashpods: ${text.replace(/^error: /, '')}`),
    })
    .showSuggestionAfterError(true)
    .showHelpAfterError('  Run it with --help for usage.')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command');
  addConnectionOptions(program);
  withExamples(program, [
    'flashpods up                                  # a server on this machine',
    "flashpods run -- 'uname -a'                   # a command in a container, its output here",
    'flashpods run --files . -- make test          # with this directory as /work',
    'flashpods ps -a                               # what ran, and with which exit code',
  ]);

  const settling = settlingWith(withContext);
  addJobCommands(program, settling);
  addServerCommands(program, settling);
  program.commandsGroup('Running it:');
  for (const role of roles) {
    const command = withExamples(program.command(role.name).description(role.summary), role.examples ?? []);
    if (role.actions) {
      command.addArgument(new Argument('<action>', 'what to do').choices(role.actions));
      command.action(async (action: string, options: Readonly<Record<string, unknown>>) =>
        withRole(role.action(options, action)),
      );
    } else {
      command.action(async (options: Readonly<Record<string, unknown>>) =>
        withRole(role.action(options, '')),
      );
    }
  }
  return program;
}

/** A role's options come from the schema of all settings, which no other command has to load. */
async function addRoleOptions(
  program: Command,
  roles: readonly RoleCommand[],
  argv: readonly string[],
): Promise<void> {
  for (const role of roles) {
    if (!argv.includes(role.name)) continue;
    const command = program.commands.find((candidate) => candidate.name() === role.name);
    for (const { flags, description } of await role.options()) command?.option(flags, description);
  }
}

/** Whether the exit code is a job's own if all goes well; asked of the words, since a mistake in them counts, too. */
function passesJobCode(argv: readonly string[], program: Command): boolean {
  const at = argv.findIndex((word) => word === '--' || program.commands.some((each) => each.name() === word));
  const name = argv[at];
  if (name === 'rerun') return argv.slice(at).some((word) => /^(--follow|-[a-z]*f[a-z]*)$/.test(word));
  return name === 'run' || name === 'wait';
}

function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
}

function usageError({ code, message }: CommanderError): ClientError {
  const text = code === 'commander.help' ? 'A command is missing.' : message.replace(/^error: /, '');
  return new ClientError('invalid_arguments', text.replaceAll(/\s*\n\s*/g, ' '));
}
