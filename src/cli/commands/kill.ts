import { ClientError } from '../../client/client-error.ts';
import { findJob } from '../../client/find-job.ts';
import type { CliContext } from '../context.ts';
import { ExitCode, exitCodeOfError } from '../exit-code.ts';
import { reportError } from '../report.ts';
import { sanitize } from '../terminal.ts';

export interface KillOptions {
  readonly label?: readonly [key: string, value: string];
}

/** Asks for the end of jobs, named or by label; one that can't be cancelled keeps none of the others. */
export async function kill(
  ids: readonly string[],
  options: KillOptions,
  context: CliContext,
): Promise<number> {
  if ((ids.length === 0) === (options.label === undefined)) {
    throw new ClientError('invalid_arguments', 'Name the jobs to kill, or give one --label.');
  }
  const client = await context.client();
  const signal = context.untilInterrupted();
  const cancelled: string[] = [];
  let exitCode: number = ExitCode.fine;

  async function tell(id: string): Promise<void> {
    cancelled.push(id);
    if (!context.json) await context.out.line(`${sanitize(id)} cancellation requested`);
  }

  if (options.label) {
    for (const id of await client.cancelJobs(options.label, signal)) await tell(id);
  }
  for (const wanted of ids) {
    try {
      const id = await findJob(client, wanted, signal);
      await client.cancelJob(id, signal);
      await tell(id);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ClientError)) throw error;
      await reportError(error, context.err, context.json);
      exitCode ||= exitCodeOfError(error);
    }
  }
  if (context.json) await context.out.json({ cancelled });
  return exitCode;
}
