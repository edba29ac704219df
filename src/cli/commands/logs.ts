import type { LogLine } from '../../client/answers.ts';
import { resolve } from 'node:path';
import { saveLog } from '../../client/save-log.ts';
import { showBytes } from '../quantity.ts';
import type { LogStart } from '../../logs/log-store.ts';
import { ClientError } from '../../client/client-error.ts';
import { findJob } from '../../client/find-job.ts';
import { followJob } from '../../client/follow.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { LogPrinter } from '../print-log.ts';

export interface LogsOptions {
  readonly follow?: boolean;
  readonly tail?: number;
  readonly fromLine?: number;
  readonly head?: number;
  readonly grep?: string;
  readonly context?: number;
  readonly ignoreCase?: boolean;
  readonly saveTo?: string;
  readonly timestamps?: boolean;
  readonly raw?: boolean;
}

/** Prints a job's log, all of it or its last lines; with `follow` until the job ends. */
export async function logs(job: string, options: LogsOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const printer = new LogPrinter(context, options);
  refuseTogether(options);
  const id = await findJob(client, job, signal);
  if (options.saveTo !== undefined) {
    const bytes = await saveLog(client, id, resolve(options.saveTo), { force: false, signal });
    context.notice(`${showBytes(bytes)} in ${options.saveTo}`);
    return ExitCode.fine;
  }
  if (options.grep !== undefined) return await grep(id, options.grep, options, context);
  const from: LogStart =
    options.tail !== undefined
      ? { tail: options.tail }
      : options.fromLine !== undefined
        ? { line: options.fromLine }
        : { offset: 0 };
  if (options.follow) {
    const closed = new AbortController();
    const onLine = async (line: LogLine): Promise<void> => {
      await printer.print(line);
      if (context.out.closed) closed.abort(new ClientError('interrupted', 'Nobody reads any more.'));
    };
    try {
      await followJob(client, id, { from, onLine, signal: AbortSignal.any([signal, closed.signal]) });
    } catch (error) {
      if (!closed.signal.aborted) throw error;
    }
    return ExitCode.fine;
  }
  let start = from;
  let left = options.head ?? Infinity;
  for (;;) {
    const page = await client.log(id, start, signal, Math.min(left, PAGE_LINES));
    if (page === null) throw notYet(id);
    for (const line of page.lines) await printer.print(line);
    left -= page.lines.length;
    const isEnd = 'offset' in start ? page.nextOffset <= start.offset : page.nextOffset >= page.totalBytes;
    if ('tail' in start || page.lines.length === 0 || isEnd || left <= 0 || context.out.closed)
      return ExitCode.fine;
    start = { offset: page.nextOffset };
  }
}

const PAGE_LINES = 10_000;

const notYet = (id: string): ClientError =>
  new ClientError('logs_not_available', `${id} has printed nothing yet.`, { status: 404 });

/** @throws ClientError invalid_arguments for options that do not go together */
function refuseTogether(options: LogsOptions): void {
  const given = (...names: readonly (keyof LogsOptions)[]): string[] =>
    names
      .filter((name) => options[name] !== undefined)
      .map((name) => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
  const [start, other] = given('tail', 'fromLine');
  const withTail = options.tail === undefined ? [] : given('head');
  const withGrep =
    options.grep === undefined ? [] : given('tail', 'head', 'follow', 'raw', 'timestamps', 'saveTo');
  const withFollow = options.follow ? given('head', 'fromLine', 'saveTo') : [];
  const aloneGrep = options.grep === undefined ? given('context', 'ignoreCase') : [];
  const refused: readonly [boolean, string][] = [
    [other !== undefined, `${start} and ${other}`],
    [withTail.length > 0, `--tail and ${withTail.join(', ')}`],
    [withGrep.length > 0, `--grep and ${withGrep.join(', ')}`],
    [withFollow.length > 0, `--follow and ${withFollow.join(', ')}`],
    [aloneGrep.length > 0, `${aloneGrep.join(', ')} without --grep`],
  ];
  const wrong = refused.find(([isWrong]) => isWrong);
  if (wrong === undefined) return;
  const advice = 'Leave one of them out.';
  throw new ClientError('invalid_arguments', `These options can’t be combined: ${wrong[1]}.`, { advice });
}

/** Lines that a regular expression finds. @returns 1 when there are none, as grep does */
async function grep(
  id: string,
  pattern: string,
  { context: around = 0, ignoreCase = false, fromLine = 1 }: LogsOptions,
  context: CliContext,
): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  let line: number | null = fromLine;
  let previous: number | null = null;
  let matches = 0;
  while (line !== null && !context.out.closed) {
    const page = await client.searchLog(id, { pattern, ignoreCase, context: around, line }, signal);
    if (page === null) throw notYet(id);
    for (const found of page.lines) {
      if (found.match === true) matches += 1;
      if (context.json) await context.out.json({ event: 'log', ...found });
      else {
        if (around > 0 && previous !== null && found.seq > previous + 1) await context.out.line('--');
        await context.out.line(`${found.seq}${found.match === true ? ':' : '-'}${found.text}`);
      }
      previous = found.seq;
    }
    line = page.nextLine;
  }
  return matches === 0 ? ExitCode.error : ExitCode.fine;
}
