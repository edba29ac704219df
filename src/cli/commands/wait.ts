import { ClientError } from '../../client/client-error.ts';
import { findJob } from '../../client/find-job.ts';
import { isTerminal } from '../../jobs/states.ts';
import type { CliContext } from '../context.ts';
import { exitCodeOfJob } from '../exit-code.ts';
import { describeEnd } from '../present-job.ts';

export interface WaitOptions {
  /** Seconds. */
  readonly timeout?: number;
}

/** The longest that the API waits in one request, s. */
const LONGEST_POLL_S = 60;

/** Waits for the end of a job and answers with its exit code. @throws ClientError poll_timeout */
export async function wait(wanted: string, options: WaitOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const id = await findJob(client, wanted, signal);
  const deadline = options.timeout === undefined ? Infinity : performance.now() + options.timeout * 1_000;
  let job = await client.getJob(id, { signal });
  while (!isTerminal(job.status)) {
    const left = (deadline - performance.now()) / 1_000;
    if (left <= 0)
      throw new ClientError('poll_timeout', `${id} is still ${job.status} after ${options.timeout ?? 0} s.`);
    // The API counts whole seconds from 1; what is left below that is waited for here.
    const waitSeconds = Math.max(1, Math.min(LONGEST_POLL_S, Math.floor(left)));
    const within = left < 1 ? AbortSignal.timeout(Math.ceil(left * 1_000)) : null;
    job = await client
      .getJob(id, { waitSeconds, signal: within ? AbortSignal.any([signal, within]) : signal })
      .catch((error: unknown) => {
        if (within?.aborted && !signal.aborted) return job;
        throw error;
      });
  }
  await (context.json ? context.out.json(job) : context.err.line(`flashpods: ${job.id} ${describeEnd(job)}`));
  return exitCodeOfJob(job);
}
