/** What adding a command to the program takes; see `job-commands.ts` and `server-commands.ts`. */
import { type Command, Option } from 'commander';
import type { CliContext, GlobalOptions } from './context.ts';

/** Makes commander's action of a command whose code is loaded when it is called. */
export type Settling = <Options extends object>(
  load: (args: readonly string[], options: Options, context: CliContext) => Promise<number>,
) => (this: Command) => Promise<void>;

export type Settle = (context: CliContext) => Promise<number>;
export type WithContext = (options: GlobalOptions, settle: Settle) => Promise<void>;

/** A command of the client below `parent`, with the options that all of them have. */
export function clientCommand(
  parent: Command,
  usage: string,
  summary: string,
  examples: readonly string[],
): Command {
  return addConnectionOptions(withExamples(parent.command(usage).description(summary), examples));
}

export const settlingWith =
  (withContext: WithContext): Settling =>
  <Options extends object>(
    load: (args: readonly string[], options: Options, context: CliContext) => Promise<number>,
  ) =>
    function (this: Command): Promise<void> {
      const options = this.optsWithGlobals<Options & GlobalOptions>();
      return withContext(options, (context) => load(this.args, options, context));
    };

const CONNECTION_GROUP = 'Output and connection:';

export function addConnectionOptions(command: Command): Command {
  const options = [
    new Option('--json', 'print JSON'),
    new Option('--url <url>', 'address of the server (FLASHPODS_URL)'),
    new Option('--host <host>', 'host of the server (FLASHPODS_HOST)').hideHelp(),
    new Option('--port <port>', 'port of the server (FLASHPODS_PORT)').hideHelp(),
    new Option('--token <token>', 'bearer token; safer as FLASHPODS_API_TOKEN'),
  ];
  for (const option of options) command.addOption(option.helpGroup(CONNECTION_GROUP));
  return command;
}

export function withExamples(command: Command, examples: readonly string[]): Command {
  if (examples.length === 0) return command;
  return command.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);
}
