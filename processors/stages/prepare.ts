/** What comes before a start, on a job whose container is not made yet: image, packages, container. */
import type { Sandbox } from '../../src/containers/sandbox.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { JobClock } from '../job-clock.ts';
import type { SupervisionResources } from '../resources.ts';
import { openCaches, type OpenedCaches } from './caches.ts';
import { install, type Installing, type Layer } from './install.ts';
import { bind, getImage } from './launch.ts';
import type { StartDeadline } from './start-deadline.ts';

export interface Preparing extends Omit<Installing, 'begin'> {
  readonly deadline: StartDeadline;
  readonly clock: Pick<JobClock, 'begin' | 'since'>;
}

/**
 * @returns the image's digest
 * @throws FlashpodsError what the three stages throw; the reason of `stop` once it is aborted
 */
export async function prepare(
  resources: SupervisionResources,
  job: Job,
  sandbox: Sandbox,
  preparing: Preparing,
): Promise<string> {
  const caches = openCaches(resources, job, preparing.tell);
  try {
    return await prepareWith(caches, resources, job, sandbox, preparing);
  } finally {
    caches.release();
  }
}

async function prepareWith(
  caches: OpenedCaches,
  resources: SupervisionResources,
  job: Job,
  sandbox: Sandbox,
  preparing: Preparing,
): Promise<string> {
  const { deadline, clock } = preparing;
  const imageDigest = await getImage(resources, job, preparing);
  let layer: Layer | null = null;
  if (job.packages.length > 0) {
    const begin = (): Promise<void> => {
      deadline.stop(); // from here on the job's own time runs
      return clock.begin({ imageDigest, ranBy: null });
    };
    layer = await install(resources, job, { ...preparing, begin });
    deadline.resume();
  }
  try {
    await bind(resources, job, sandbox, preparing, { layer: layer?.key, caches, since: clock.since });
  } finally {
    layer?.release();
  }
  return imageDigest;
}
