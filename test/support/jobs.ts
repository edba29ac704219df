import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { newJobId } from '../../src/ids.ts';
import { jobLimits } from '../../src/jobs/description/limits.ts';
import { hashSpec, parseCreateJob, toJobSpec } from '../../src/jobs/request.ts';
import type { JobQueries } from '../../src/jobs/queries.ts';
import type { JobState } from '../../src/jobs/states.ts';
import type { NewJob } from '../../src/jobs/store.ts';

export const LIMITS = jobLimits({
  workerImage: BASE_IMAGE,
  agentImage: 'flashpods/agent:latest',
});

/** A valid job as the service would hand it to the store. */
export function newJob(request: Record<string, unknown> = {}, more: Partial<NewJob> = {}): NewJob {
  const spec = toJobSpec(parseCreateJob({ type: 'worker', command: 'true', ...request }), LIMITS);
  return {
    ...spec,
    id: newJobId(),
    owner: 'default',
    clientJobId: null,
    requestHash: hashSpec(spec),
    ...more,
  } as NewJob;
}

/** How many jobs are in a state. */
export async function countIn(queries: JobQueries, state: JobState): Promise<number> {
  const filter = { owner: null, type: null, label: null, beforePosition: null };
  return (await queries.list({ ...filter, states: [state], limit: 1 })).total;
}
