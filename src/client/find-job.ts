/** Which job a person means: an id, the beginning of one, or a name. */
import { isJobId } from '../ids.ts';
import type { JobAnswer } from './answers.ts';
import type { FlashpodsClient } from './client.ts';
import { ClientError, hasCode } from './client-error.ts';

/** Candidates that a message names. */
const NAMED = 5;

/**
 * The id of the job that has this name, or whose id begins so (with `job_` or without). A name goes before the beginning
 * of an id. What finds nothing comes back as it is: the server says then that there is no such job.
 * @throws ClientError ambiguous_job, with the newest candidates in its message
 */
export async function findJob(
  client: FlashpodsClient,
  wanted: string,
  signal?: AbortSignal,
): Promise<string> {
  if (isJobId(wanted)) return wanted;
  const { jobs, total } = await client
    .listJobs({ find: wanted, limit: NAMED + 1 }, signal)
    .catch((error: unknown) => {
      // A server before 0.2 looks for nothing.
      if (hasCode(error, 'invalid_request')) return { jobs: [], total: 0 };
      throw error;
    });
  const named = jobs.filter(({ labels }) => labels?.['name'] === wanted);
  const begun = jobs.filter(({ id }) => id.startsWith(wanted) || id.startsWith(`job_${wanted}`));
  const found = named.length > 0 ? named : begun;
  const [only] = found;
  if (only === undefined) return wanted;
  if (found.length === 1) return only.id;
  const shown = found.slice(0, NAMED).map(describe).join(', ');
  const more = Math.max(0, total - NAMED);
  const all = more === 0 ? shown : `${shown} and ${more} more`;
  throw new ClientError('ambiguous_job', `${JSON.stringify(wanted)} may be any of these jobs: ${all}.`);
}

const describe = ({ id, status, created_at: at }: JobAnswer): string =>
  `${id} (${status}, created ${at.slice(0, 19).replace('T', ' ')} UTC)`;
