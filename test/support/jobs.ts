import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { newJobId } from '../../src/ids.ts';
import { jobLimits } from '../../src/jobs/description/limits.ts';
import type { NewEvent } from '../../src/jobs/events.ts';
import { hashSpec, parseCreateJob, toJobSpec } from '../../src/jobs/request.ts';
import type { JobQueries } from '../../src/jobs/queries.ts';
import type { JobState } from '../../src/jobs/states.ts';
import type { NewJob, Transition } from '../../src/jobs/store.ts';

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

const ended: NewEvent = { type: 'ended', payload: { exit_code: null, error: null } };
const EVENTS: Readonly<Record<JobState, NewEvent>> = {
  pending: { type: 'accepted', payload: { type: 'worker' } },
  queued: { type: 'queued', payload: {} },
  starting: { type: 'taken', payload: { host: 'test' } },
  running: { type: 'started', payload: {} },
  completed: ended,
  failed: ended,
  timed_out: ended,
  cancelled: { type: 'cancelled', payload: { reason: 'cancel' } },
  cleaning: { type: 'cleaning', payload: {} },
  cleaned: { type: 'cleaned', payload: {} },
};

/** The parts of a raw transition that say where it leads. */
export const into = (to: JobState): Pick<Transition, 'to' | 'event'> => ({ to, event: EVENTS[to] });
