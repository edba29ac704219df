import type { ArgumentEntry, CommandEntry, OptionEntry } from './catalogue.ts';
import type { ServerFlags } from './server-values.ts';

export interface Candidate {
  readonly value: string;
  readonly description?: string;
}

/** What the server knows; each answers with nothing when it can't be asked. */
export interface ServerValues {
  /** Those that the command takes. */
  jobs(command: string): Promise<readonly Candidate[]>;
  labels(): Promise<readonly Candidate[]>;
  artifacts(jobId: string): Promise<readonly Candidate[]>;
}

/** What may stand in the place of the last word; `:files` and `:directories` leave it to the shell. */
export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly paths: ':files' | ':directories' | null;
}

const NOTHING: Completion = { candidates: [], paths: null };
const FILES: Completion = { candidates: [], paths: ':files' };
const DIRECTORIES: Completion = { candidates: [], paths: ':directories' };
const of = (candidates: readonly Candidate[]): Completion => ({ candidates, paths: null });
const ofValues = (values: readonly string[]): Completion => of(values.map((value) => ({ value })));

/**
 * Completes the last of the words after `flashpods`, which may be empty.
 * @param ask makes what asks the server that the words name
 */
export async function complete(
  words: readonly string[],
  root: CommandEntry,
  ask: (flags: ServerFlags) => ServerValues,
): Promise<Completion> {
  const current = words.at(-1) ?? '';
  const { command, parent, positionals, open, flags, passing } = read(words.slice(0, -1), root);
  if (passing) return FILES;
  const server = ask(flags);
  const found = await candidates();
  return { ...found, candidates: found.candidates.filter(({ value }) => value.startsWith(current)) };

  async function candidates(): Promise<Completion> {
    if (open) return valuesOf(open, server);
    const [, name, value] = /^(--[^=]+)=(.*)$/s.exec(current) ?? [];
    if (name !== undefined && value !== undefined) {
      const option = optionOf(command, name);
      const found = option?.takes ? await valuesOf(option, server) : NOTHING;
      const prefixed = found.candidates.map((item) => ({ ...item, value: `${name}=${item.value}` }));
      return { ...found, candidates: prefixed };
    }
    if (current.startsWith('-')) return of(optionsOf(command));
    const below = positionals.length === 0 ? command.commands : [];
    const subcommands = summaries(below);
    const argument = argumentAt(command, positionals.length);
    if (!argument) return of(subcommands);
    if (argument.name === 'command' && !argument.variadic) return of(summaries(parent.commands));
    const found = await argumentValues(command, argument, positionals, server);
    return { ...found, candidates: [...subcommands, ...found.candidates] };
  }
}

interface Position {
  readonly command: CommandEntry;
  /** What the command is one of; the root is its own. */
  readonly parent: CommandEntry;
  readonly positionals: readonly string[];
  /** The option whose value comes next. */
  readonly open: OptionEntry | null;
  readonly flags: ServerFlags;
  /** What follows belongs to a command of the job. */
  readonly passing: boolean;
}

/** Where one is after these words. */
function read(words: readonly string[], root: CommandEntry): Position {
  let [command, parent] = [root, root];
  let open: OptionEntry | null = null;
  let literal = false;
  const positionals: string[] = [];
  const flags: Record<string, string> = {};
  for (const word of words) {
    if (open) {
      flags[open.long] = word;
      open = null;
    } else if (!literal && word === '--') {
      literal = true;
      if (command.passesThrough) return { command, parent, positionals, open, flags, passing: true };
    } else if (!literal && word.startsWith('-') && word !== '-') {
      const [name = '', ...value] = word.split('=');
      const option = optionOf(command, name);
      if (option?.takes && !word.includes('=')) open = option;
      else if (option) flags[option.long] = value.join('=');
    } else {
      const below = positionals.length === 0 ? command.commands.find(({ name }) => name === word) : undefined;
      if (below) [parent, command] = [command, below];
      else positionals.push(word);
      if (!below && command.passesThrough)
        return { command, parent, positionals, open, flags, passing: true };
    }
  }
  return { command, parent, positionals, open, flags, passing: false };
}

const optionOf = (command: CommandEntry, name: string): OptionEntry | undefined =>
  command.options.find(({ long, short }) => long === name || short === name);

const summaries = (commands: readonly CommandEntry[]): Candidate[] =>
  commands.map(({ name: value, summary }) => ({ value, description: summary }));

const optionsOf = (command: CommandEntry): Candidate[] =>
  command.options.flatMap(({ long, short, description }) =>
    [long, short].filter((value) => value !== null).map((value) => ({ value, description })),
  );

function argumentAt(command: CommandEntry, index: number): ArgumentEntry | undefined {
  const last = command.arguments.at(-1);
  return command.arguments[index] ?? (last?.variadic ? last : undefined);
}

async function valuesOf(option: OptionEntry, server: ServerValues): Promise<Completion> {
  if (option.choices.length > 0) return ofValues(option.choices);
  switch (option.takes) {
    case 'directory':
      return DIRECTORIES;
    case 'path':
    case 'name':
      return option.long === '--name' ? NOTHING : FILES;
    case 'key=value':
      return option.long === '--label' ? of(await server.labels()) : NOTHING;
    default:
      return NOTHING;
  }
}

async function argumentValues(
  command: CommandEntry,
  argument: ArgumentEntry,
  positionals: readonly string[],
  server: ServerValues,
): Promise<Completion> {
  if (argument.choices.length > 0) return ofValues(argument.choices);
  switch (argument.name) {
    case 'command':
      return FILES;
    case 'job':
    case 'jobs': {
      const jobs = await server.jobs(command.name);
      return of(jobs.filter(({ value }) => !positionals.includes(value)));
    }
    case 'names': {
      const artifacts = await server.artifacts(positionals[0] ?? '');
      return of(artifacts.filter(({ value }) => !positionals.includes(value)));
    }
    default:
      return NOTHING;
  }
}
