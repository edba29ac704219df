import type { LogLine } from '../../client/answers.ts';
import type { LogStart } from '../../logs/log-store.ts';
import { ClientError } from '../../client/client-error.ts';
import { followJob } from '../../client/follow.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { LogPrinter } from '../print-log.ts';

export interface LogsOptions {
  readonly follow?: boolean;
  readonly tail?: number;
  readonly timestamps?: boolean;
  readonly raw?: boolean;
}

/** Prints a job's log, all of it or its last lines; with `follow` until the job ends. */
export async function logs(id: string, options: LogsOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const printer = new LogPrinter(context, options);
  const from: LogStart = options.tail === undefined ? { offset: 0 } : { tail: options.tail };
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
  for (;;) {
    const page = await client.log(id, start, signal);
    if (page === null)
      throw new ClientError('logs_not_available', `Nothing has been captured for ${id} yet.`, {
        status: 404,
      });
    for (const line of page.lines) await printer.print(line);
    if ('tail' in start || page.lines.length === 0 || page.nextOffset <= start.offset || context.out.closed)
      return ExitCode.fine;
    start = { offset: page.nextOffset };
  }
}
