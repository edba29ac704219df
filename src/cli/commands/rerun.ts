import { attach, Interruption } from '../attached-job.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';

export interface RerunOptions {
  readonly follow?: boolean;
  readonly artifacts?: string;
  readonly force?: boolean;
  readonly timestamps?: boolean;
}

/** Makes a job like an earlier one and prints its id, or stays with it to its end. */
export async function rerun(id: string, options: RerunOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  const interruption = new Interruption(context, client);
  try {
    const created = await client.rerunJob(id, interruption.leaving);
    if (options.follow) return await attach(created, options, context, interruption);
    await (context.json ? context.out.json(created) : context.out.line(created.job_id));
    return ExitCode.fine;
  } finally {
    interruption.stop();
  }
}
