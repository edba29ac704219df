/**
 * What runs the text of a job's command. `auto` takes bash with `pipefail`, as people who write commands expect, and sh
 * where the image has no bash; a text that begins with `#!` is a script for the interpreter that it names. `sh` is the
 * plain form, `/bin/sh -c`.
 */
import type { SHELLS } from '../jobs/description/fields.ts';

export type ShellChoice = (typeof SHELLS)[number];

export interface ShellCommand {
  readonly text: string;
  readonly shell: ShellChoice;
  /** Its stderr is its stdout's pipe. */
  readonly merge?: boolean;
}

/** Name and place of the file that a script is, in `/run/flashpods`. */
export const SCRIPT_FILE = 'command';
const SCRIPT_PATH = `/run/flashpods/${SCRIPT_FILE}`;
const BASHES = ['/bin/bash', '/usr/bin/bash', '/usr/local/bin/bash'] as const;
const SH = '/bin/sh';
/** Linux reads no more of the first line (`BINPRM_BUF_SIZE`). */
const FIRST_LINE = /^#![ \t]*(\/[^\s]+)(?:[ \t][^\n]{0,250})?(?=\n|$)/;

/** Whether an image has a program at a path; null: nobody has looked yet. */
export type HasProgram = (path: string) => boolean | null;

export type Plan =
  | {
      readonly argv: readonly string[];
      /** What runs it, as a person would say it. */
      readonly ranBy: string;
      /** What has to be looked up in the image before this is certain. */
      readonly unknown: readonly string[];
    }
  | {
      /** Why it can't run, and what to do. */
      readonly problem: string;
    };

/**
 * A text without what Windows and its editors add: a mark at its beginning, and a carriage return before the end of a
 * line. One inside a line stays.
 */
export const withoutWindows = (text: string): string =>
  text.replace(/^\uFEFF/, '').replaceAll(/\r+(?=\n|$)/g, '');

/** The script that a command is, or null. Empty lines before its `#!` do not count. */
export function scriptOf({ text, shell }: ShellCommand): string | null {
  if (shell !== 'auto') return null;
  const script = withoutWindows(text).replace(/^\s*\n(?=#!)/, '');
  return FIRST_LINE.test(script) ? script : null;
}

/** The bash of an image; null where it has none. Where nobody has looked, it is where most have it. */
export function bashOf(has: HasProgram): {
  readonly path: string | null;
  readonly unknown: readonly string[];
} {
  for (const path of BASHES) {
    const there = has(path);
    if (there !== false) return { path, unknown: there === null ? [path] : [] };
  }
  return { path: null, unknown: [] };
}

/** Takes its own place, so that it is the job's first process and changes nothing else. */
const MERGING = 'exec "$@" 2>&1';

/** @param image as the job names it */
export function planCommand(command: ShellCommand, image: string, has: HasProgram): Plan {
  const plan = planUnmerged(command, image, has);
  if ('problem' in plan || command.merge !== true) return plan;
  const bash = bashOf(has);
  const isShThere = bash.path === null ? has(SH) : true;
  // A script for a program of an image without a shell has two pipes.
  if (isShThere === false) return plan;
  const shell = bash.path ?? SH;
  const unknown = [...plan.unknown, ...bash.unknown, ...(isShThere === null ? [SH] : [])];
  return { ...plan, argv: [shell, '-c', MERGING, shell, ...plan.argv], unknown: [...new Set(unknown)] };
}

function planUnmerged(command: ShellCommand, image: string, has: HasProgram): Plan {
  const script = scriptOf(command);
  if (script !== null) return planScript(script, image, has);
  const text = withoutWindows(command.text);
  const bash = bashOf(has);
  if (command.shell !== 'sh' && bash.path !== null)
    return {
      argv: [bash.path, '-o', 'pipefail', '-c', '--', text],
      ranBy: 'bash -o pipefail',
      unknown: bash.unknown,
    };
  if (command.shell === 'bash')
    return {
      problem: `the image ${image} has no bash: leave \`shell\` out, so that sh runs the command, or choose an image with bash`,
    };
  const there = has(SH);
  if (there === false)
    return {
      problem: `the image ${image} has no shell to run a command: choose an image with bash or sh, or begin the command with \`#!\` and the path of a program that the image has`,
    };
  return { argv: [SH, '-c', '--', text], ranBy: 'sh', unknown: there === null ? [SH] : [] };
}

function planScript(script: string, image: string, has: HasProgram): Plan {
  const [line = '', interpreter = ''] = FIRST_LINE.exec(script) ?? [];
  const there = has(interpreter);
  if (there === false)
    return {
      problem: `the image ${image} has no ${interpreter}, which the first line of the command names: change that line, or choose an image that has it`,
    };
  return { argv: [SCRIPT_PATH], ranBy: line.trimEnd(), unknown: there === null ? [interpreter] : [] };
}
