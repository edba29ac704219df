/** Moves rows through their states as a worker would, without one. */
import type { ArtifactRecord, Job } from '../../src/jobs/job.ts';
import type { JobStore } from '../../src/jobs/store.ts';
import { into } from '../support/jobs.ts';

const ACTOR = 'test';

export async function makeStarting(store: JobStore, id: string): Promise<Job> {
  await store.transition(id, { from: ['pending'], ...into('queued'), actor: ACTOR });
  const job = await store.transition(id, {
    from: ['queued'],
    ...into('starting'),
    patch: { host: 'h1', epoch: 1, startingAt: Date.now() },
    actor: ACTOR,
  });
  if (!job) throw new Error(`${id} was not queued`);
  return job;
}

export async function makeRunning(store: JobStore, id: string): Promise<Job> {
  await makeStarting(store, id);
  const job = await store.transition(id, {
    from: ['starting'],
    ...into('running'),
    patch: { startedAt: Date.now() },
    actor: ACTOR,
  });
  if (!job) throw new Error(`${id} was not starting`);
  return job;
}

/** The container is gone, its artifacts are still being collected. */
export async function makeCollecting(store: JobStore, id: string): Promise<void> {
  const { epoch } = await makeRunning(store, id);
  await store.patch(id, epoch, { endedAt: Date.now() });
}

export async function makeCompleted(
  store: JobStore,
  id: string,
  artifacts: readonly ArtifactRecord[] = [],
): Promise<Job> {
  const { epoch } = await makeRunning(store, id);
  await store.decideEnding(id, 'exit', ACTOR, { epoch });
  const job = await store.transition(id, {
    from: ['running'],
    ...into('completed'),
    patch: { exitCode: 0, endedAt: Date.now(), completedAt: Date.now() },
    artifacts,
    actor: ACTOR,
  });
  if (!job) throw new Error(`${id} was not running`);
  return job;
}
