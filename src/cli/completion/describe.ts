import type { Command } from 'commander';
import type { CommandEntry } from './catalogue.ts';

/** The commands that `--help` shows, as data. */
export function describeCommand(command: Command): CommandEntry {
  const help = command.createHelp();
  return {
    name: command.name(),
    summary: command.description(),
    options: help.visibleOptions(command).map((option) => ({
      short: option.short ?? null,
      long: option.long ?? option.short ?? '',
      description: option.description,
      takes: option.required || option.optional ? (/[<[]([^>\]]+)/.exec(option.flags)?.[1] ?? '') : null,
      choices: option.argChoices ?? [],
    })),
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
