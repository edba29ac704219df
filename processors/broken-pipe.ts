/** Why a command that ran with pipefail ended with 141 (SIGPIPE), as far as its text tells. */
import { beginningOf } from '../src/observability/cut-text.ts';

/** Programs that often stop reading before their input ends. */
const STOPS_EARLY =
  /^(?:\S+=\S* )*(?:\S*\/)?(?:head\b|grep\b.*(?: -\w*[qm]|--quiet|--max-count)|sed\b.*q\b|awk\b.*\bexit\b|read\b|less\b|more\b|true\b|dd\b)/;
const LONGEST_SHOWN = 80;

/** One sentence of what happened, and what to do. */
export function pipeNote(command: string): string {
  const early = pipelines(command).flatMap((stages) =>
    stages
      .slice(1)
      .flatMap((stage, i) => (STOPS_EARLY.test(stage) ? [[stages[i] ?? '', stage] as const] : [])),
  );
  const piped = pipelines(command).filter((stages) => stages.length > 1);
  const [only] = piped;
  const pair =
    early.length === 1
      ? early[0]
      : piped.length === 1 && only?.length === 2
        ? ([only[0], only[1]] as const)
        : undefined;
  const what =
    pair === undefined
      ? 'A program in a pipe was ended by SIGPIPE (exit 141): the next one in the pipe stopped reading before it was done.'
      : `“${shown(pair[0])}” was ended by SIGPIPE (exit 141): “${shown(pair[1])}” stopped reading before it was done.`;
  return `${what} With pipefail that fails the job. Let the program print everything (its log is kept), or run the command with \`shell\` set to \`sh\`, where only the last program of a pipe counts.`;
}

const shown = (text = ''): string =>
  text.length > LONGEST_SHOWN ? `${beginningOf(text, LONGEST_SHOWN)}…` : text;

/**
 * The pipelines of a command by their programs, quotes and comments respected. What stands in `$(…)` or in a heredoc is
 * read like the rest, so a pipe in there counts as well.
 */
export function pipelines(command: string): string[][] {
  const all: string[][] = [];
  let stages: string[] = [];
  let stage = '';
  const endStage = (): void => {
    const text = stage.trim();
    if (text !== '') stages.push(text);
    stage = '';
  };
  const endPipeline = (): void => {
    endStage();
    if (stages.length > 0) all.push(stages);
    stages = [];
  };
  const token =
    /\\[^]|'[^']*'|"(?:\\[^]|[^"\\])*"|(?<=^|\s)#[^\n]*|>\||\|\||\|&?|&&|[&<>]{2}|&>|>&|[;&\n]|[^]/g;
  for (const [piece] of command.matchAll(token)) {
    if (piece === '|' || piece === '|&') endStage();
    else if (piece === '||' || piece === '&&' || piece === ';' || piece === '&' || piece === '\n')
      endPipeline();
    else if (!piece.startsWith('#')) stage += piece;
  }
  endPipeline();
  return all;
}
