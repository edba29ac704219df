/** Finds the job whose artifacts somebody means by a label. */
import { isResult } from '../jobs/states.ts';
import type { ArtifactList } from './answers.ts';
import type { FlashpodsClient } from './client.ts';
import { ClientError, hasCode } from './client-error.ts';

export interface Labelled {
  readonly id: string;
  readonly artifacts: ArtifactList;
  /** Which job it is, and how many others have the label. */
  readonly note: string;
}

/** Jobs that are looked at: of a label that all jobs have, the newest are meant. */
const MOST_JOBS = 1_000;

/**
 * The newest job with a label that has ended and whose artifacts are still there.
 * @throws ClientError job_not_found
 */
export async function newestWithLabel(
  client: Pick<FlashpodsClient, 'listJobs' | 'artifacts'>,
  label: readonly [key: string, value: string],
  signal?: AbortSignal,
  match: readonly string[] = [],
): Promise<Labelled> {
  const shown = JSON.stringify(label.join('='));
  let cursor: string | undefined;
  let seen = 0;
  let gone = 0;
  do {
    const page = await client.listJobs({ status: 'all', label, limit: 100, cursor }, signal);
    for (const { id, status } of page.jobs) {
      seen += 1;
      if (!isResult(status)) {
        if (status === 'cleaning' || status === 'cleaned') gone += 1;
        continue;
      }
      try {
        const artifacts = await client.artifacts(id, signal, match);
        const others = page.total - 1;
        const note = `${id} is the newest job with the label ${shown} whose artifacts are there${others > 0 ? `; ${others} more ${others === 1 ? 'has' : 'have'} it` : ''}`;
        return { id, artifacts, note };
      } catch (error) {
        if (!hasCode(error, 'artifacts_deleted')) throw error;
        gone += 1;
      }
    }
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined && seen < MOST_JOBS);
  const why =
    seen === 0
      ? `No job has the label ${shown}.`
      : gone === 0
        ? `No job with the label ${shown} has ended yet.`
        : `What the jobs with the label ${shown} left is deleted, or they have not ended yet.`;
  throw new ClientError('job_not_found', why, {
    status: 404,
    advice: 'A job keeps what it left for longer if it asks for that: `--keep 7d`, or `keep_hours`.',
  });
}
