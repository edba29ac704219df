import { makeOutputDirectory } from '../../client/artifact-places.ts';
import { findJob } from '../../client/find-job.ts';
import { attach, type AttachOptions, Interruption } from '../attached-job.ts';
import type { CliContext } from '../context.ts';
import { refuseAttached } from './run.ts';

export interface RerunOptions extends AttachOptions {
  readonly follow?: boolean;
}

/** Makes a job like an earlier one and prints its id, or stays with it to its end. */
export async function rerun(job: string, options: RerunOptions, context: CliContext): Promise<number> {
  if (!options.follow) refuseAttached(options, 'Without --follow nobody stays with the job');
  const client = await context.client();
  const interruption = new Interruption(context, client);
  try {
    if (options.artifacts !== undefined) await makeOutputDirectory(options.artifacts);
    const id = await findJob(client, job, interruption.preparing);
    const created = await client.rerunJob(id, interruption.leaving, interruption.preparing);
    if (options.follow) return await attach(created, options, context, interruption);
    await interruption.throwIfStopped(created.job_id);
    return await context.show(created, () => created.job_id);
  } finally {
    interruption.stop();
  }
}
