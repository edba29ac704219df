/** The steps of dispatcher, sweeper and reconciler, so that a test can stop, slow or kill a process right after one. */
import type { JobStore } from '../../src/jobs/store.ts';
import type { QueueResources } from '../../queues/resources.ts';

/** What has just been done, in the order in which a dispatch does it; then what takes a dispatch back or a host away. */
export const DISPATCH_STEPS = ['reserved', 'taken', 'withdrawn', 'added', 'announced'] as const;
export const SWEEP_STEPS = [
  'revoked',
  'put back',
  'enqueued',
  'host given up',
  'ending decided',
  'ended',
] as const;
export type Step = (typeof DISPATCH_STEPS)[number] | (typeof SWEEP_STEPS)[number];

/**
 * Calls `hook` after each step of everything that uses these resources and this store. The product's own
 * objects do the work; only their methods are wrapped, so nothing in the product knows of tests.
 */
export function watchSteps(
  resources: QueueResources,
  store: JobStore,
  hook: (step: Step, jobId: string) => Promise<void> | void,
): void {
  const { semaphore, queue, announcements, queues } = resources;

  const reserve = semaphore.reserve.bind(semaphore);
  semaphore.reserve = async (request) => {
    await reserve(request);
    await hook('reserved', request.jobId);
  };
  const revoke = semaphore.revoke.bind(semaphore);
  semaphore.revoke = async (jobId, epoch, ticket) => {
    const revoked = await revoke(jobId, epoch, ticket);
    await hook('revoked', jobId);
    return revoked;
  };
  const lose = semaphore.lose.bind(semaphore);
  semaphore.lose = async (host, silentMs) => {
    const lost = await lose(host, silentMs);
    if (lost) await hook('host given up', host);
    return lost;
  };

  const transition = store.transition.bind(store);
  store.transition = async (id, change) => {
    const row = await transition(id, change);
    if (row && change.to === 'starting') await hook('taken', id);
    else if (row && change.from.includes('starting'))
      await hook(change.to === 'queued' ? 'put back' : 'ended', id);
    return row;
  };
  const decideEnding = store.decideEnding.bind(store);
  store.decideEnding = async (id, reason, actor, options) => {
    const first = await decideEnding(id, reason, actor, options);
    await hook('ending decided', id);
    return first;
  };

  const withdraw = queue.withdraw.bind(queue);
  queue.withdraw = async (jobId) => {
    await withdraw(jobId);
    await hook('withdrawn', jobId);
  };
  const enqueue = queue.enqueue.bind(queue);
  queue.enqueue = async (job) => {
    await enqueue(job);
    await hook('enqueued', job.id);
  };
  const announce = announcements.announce.bind(announcements);
  announcements.announce = (jobId, host) => {
    announce(jobId, host);
    if (host !== null) void hook('announced', jobId);
  };

  const run = queues.run.bind(queues);
  const watched = new WeakSet<object>();
  queues.run = (host) => {
    const hostQueue = run(host);
    if (!watched.has(hostQueue)) {
      watched.add(hostQueue);
      const add = hostQueue.add.bind(hostQueue);
      hostQueue.add = async (name, data, options) => {
        const entry = await add(name, data, options);
        if (data.jobId !== '') await hook('added', data.jobId);
        return entry;
      };
    }
    return hostQueue;
  };
}
