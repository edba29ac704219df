import assert from 'node:assert/strict';
import { it } from 'mocha';
import { hostImage } from '../../src/images/image.ts';
import type { Job } from '../../src/jobs/job.ts';
import { eventually } from '../support/eventually.ts';
import type { ImageWord } from '../../queues/images/image-board.ts';
import { createKeys } from '../../queues/keys.ts';
import type { Hold } from '../../queues/semaphore/semaphore.ts';
import { describeQueues } from './describe-queues.ts';
import { type Installation, LEASE_MS } from './installation.ts';

/** Does something once in the middle of the look that first takes the job in. */
function during({ resources: { waiting } }: Installation, jobId: string, act: () => Promise<void>): void {
  const look = waiting.candidates.bind(waiting);
  let done = false;
  waiting.candidates = async () => {
    const candidates = await look();
    if (!done && candidates.some((candidate) => candidate.jobId === jobId)) {
      done = true;
      await act();
    }
    return candidates;
  };
}

describeQueues('the dispatcher with images that hosts lack', (here) => {
  const image = 'rare';
  const openPuller = async (name: string, cpus: number, holds: readonly Hold[] = []) => {
    const capacity = { cpusMilli: cpus * 1_000, memoryMib: cpus * 1_024 };
    await here.hosts.register(name, capacity);
    const { semaphore } = here.resources;
    const generation = await semaphore.register(name, capacity, LEASE_MS, null, { pulls: true });
    await semaphore.sync(name, generation, async () => holds);
    const say = (state: ImageWord['state'], at: number) =>
      here.resources.images.say(name, image, { state, generation, at });
    return { generation, say };
  };
  const wished = (host: string) =>
    eventually(`${host} is asked for the image`, async () =>
      (await here.resources.images.wishes(host)).has(image),
    );

  it('fails those whose image is not to be had, though the clock of the host is behind', async () => {
    const a = await openPuller('a', 1);
    await a.say('failed', 2);
    here.dispatcher('a');
    const job = await here.submit({ image });
    // The failure from before is not its own.
    await wished('a');
    assert.equal(await here.status(job), 'queued');
    await a.say('failed', 1);
    await here.becomes(job, 'failed');
    assert.equal((await here.row(job.id)).error, 'image_pull_failed');
  });

  it('tries a third one where one could not get it and a busy one has it', async () => {
    const blocker = await here.submit();
    await here.resources.queue.withdraw(blocker.id);
    const hold = { jobId: blocker.id, epoch: 1, owner: 'owner', endsBy: null };
    const small = await openPuller('small', 1);
    const large = await openPuller('large', 2);
    const busy = await openPuller('busy', 1, [{ ...hold, cpusMilli: 1_000, memoryMib: 1_024 }]);
    await busy.say('present', 1);
    here.dispatcher('small');
    const job = await here.submit({ image });
    await wished('small');
    await small.say('failed', 1);
    await wished('large');
    await large.say('present', 1);
    await here.becomes(job, 'starting');
    assert.equal((await here.row(job.id)).host, 'large');
  });

  it('waits for a busy one that has it when the idle one can’t get it', async () => {
    const blocker = await here.submit();
    await here.resources.queue.withdraw(blocker.id);
    const hold = { jobId: blocker.id, epoch: 1, owner: 'owner', endsBy: null };
    const idle = await openPuller('idle', 1);
    const busy = await openPuller('busy', 1, [{ ...hold, cpusMilli: 1_000, memoryMib: 1_024 }]);
    await busy.say('present', 1);
    here.dispatcher('idle');
    const job = await here.submit({ image });
    await wished('idle');
    await idle.say('failed', 1);
    await eventually('it waits for room', async () => {
      const [wait] = await here.resources.queue.waits([await here.row(job.id)]);
      return /^Waiting for 1 cpu/.test(wait?.reason ?? '');
    });
    await here.resources.semaphore.release(blocker.id, 1);
    await here.becomes(job, 'starting');
    assert.equal((await here.row(job.id)).host, 'busy');
  });

  it('starts the one that has waited longest when the image has come, of more than a look takes in', async () => {
    const jobs: Job[] = [];
    for (let index = 0; index < 100; index += 1) jobs.push(await here.submit({ image }));
    const { say } = await openPuller('a', 1);
    const [first, last] = [jobs[0], jobs.at(-1)];
    assert.ok(first && last);
    during(here, last.id, () => say('present', 1));
    here.dispatcher('a');
    await eventually('one is on its way', async () => (await here.held()).length > 0);
    assert.equal((await here.held())[0]?.jobId, first.id);
  });

  it('has what a host has in full once, and keeps it until that changes or is lost', async () => {
    const { images } = here.resources;
    const redis = here.resources.connection;
    const stock = hostImage(
      { reference: 'localhost/flashpods/base:latest', digest: 'sha256:1', sizeBytes: 1 },
      {},
    );
    const key = createKeys(here.prefix).hostStock('a');
    await images.sayStock('a', [stock]);
    assert.deepEqual((await images.stocks(['a'])).get('a'), [stock]);
    // Nothing is written again, but for how long it counts.
    await redis.set(key, '[]', 'PX', 100);
    await images.sayStock('a', [stock]);
    assert.equal(await redis.get(key), '[]');
    assert.ok((await redis.pttl(key)) > 10_000);
    await images.sayStock('a', []);
    await images.sayStock('a', [stock]);
    assert.deepEqual((await images.stocks(['a'])).get('a'), [stock]);
    await redis.del(key);
    await images.sayStock('a', [stock]);
    assert.deepEqual((await images.stocks(['a'])).get('a'), [stock]);
  });
});
