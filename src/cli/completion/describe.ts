import type { Command, Option } from 'commander';
import { JOB_STATES } from '../../jobs/states.ts';
import type { CommandEntry, OptionEntry } from './catalogue.ts';

/** What `--status` takes, which leaves it to the server to refuse others. */
const STATES = ['active', 'all', ...JOB_STATES];

/** The commands that `--help` shows, as data. */
export function describeCommand(command: Command): CommandEntry {
  const help = command.createHelp();
  return {
    name: command.name(),
    summary: command.description(),
    options: help.visibleOptions(command).map(describeOption),
    arguments: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      variadic: argument.variadic,
      choices: argument.argChoices ?? [],
    })),
    commands: help.visibleCommands(command).map(describeCommand),
    // Only a command that takes a command of somebody else's does so; that of `help` is one of ours.
    passesThrough: command.registeredArguments.some(
      (argument) => argument.variadic && argument.name() === 'command',
    ),
  };
}

function describeOption(option: Option): OptionEntry {
  const takes = option.required || option.optional ? (/[<[]([^>\]]+)/.exec(option.flags)?.[1] ?? '') : null;
  return {
    short: option.short ?? null,
    long: option.long ?? option.short ?? '',
    description: option.description,
    takes,
    choices: option.argChoices ?? (takes === 'state' ? STATES : []),
  };
}
