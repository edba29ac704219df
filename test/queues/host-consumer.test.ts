import assert from 'node:assert/strict';
import { it } from 'mocha';
import { dispatchId } from '../../src/ids.ts';
import { eventually } from '../support/eventually.ts';
import { describeQueues } from './describe-queues.ts';

describeQueues('the consumer of a host', (here) => {
  const add = (jobId: string, epoch = 1) =>
    here.resources.queues.run('a').add('dispatch', { jobId, epoch }, { jobId: dispatchId(jobId, epoch) });
  const state = (jobId: string) => here.resources.queues.run('a').getJobState(dispatchId(jobId, 1));
  /** What BullMQ does with an entry whose lock was lost. */
  const loseLock = async (jobId: string) => {
    const { connection, queues } = here.resources;
    const [queue, id] = [queues.run('a'), dispatchId(jobId, 1)];
    await connection.del(queue.toKey(`${id}:lock`));
    await connection.lrem(queue.toKey('active'), 0, id);
    await connection.rpush(queue.toKey('wait'), id);
    await connection.zadd(queue.toKey('marker'), 0, '0');
  };
  const gate = () => {
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    return { open, opened };
  };

  it('hands a dispatch over and keeps the command’s exit code with a completed entry', async () => {
    const seen: unknown[] = [];
    here.consumer('a', async (dispatch) => {
      seen.push(dispatch);
      return { status: 'failed', exitCode: 3 };
    });
    await add('j');
    await eventually('it is done', async () => (await state('j')) === 'completed');
    assert.deepEqual(seen, [{ jobId: 'j', epoch: 1 }]);
    const entry = await here.resources.queues.run('a').getJob(dispatchId('j', 1));
    assert.deepEqual(entry?.returnvalue, { status: 'failed', exitCode: 3 });
  });

  it('shows as failed what failed on our side', async () => {
    here.consumer('a', () => Promise.reject(new Error('no database')));
    await add('j');
    await eventually('it is shown', async () => (await state('j')) === 'failed');
  });

  it('joins a second pickup of the same dispatch', async () => {
    const { open, opened } = gate();
    const begun: string[] = [];
    const consumer = here.consumer('a', async ({ jobId }) => {
      begun.push(jobId);
      await opened;
      return { status: 'completed', exitCode: 0 };
    });
    await add('j');
    await eventually('it is held', () => consumer.held.length === 1);
    await loseLock('j');
    const { connection } = here.resources;
    const queue = here.resources.queues.run('a');
    const id = dispatchId('j', 1);
    await eventually('it was picked up again', async () =>
      (await connection.lrange(queue.toKey('active'), 0, -1)).includes(id),
    );
    // What comes behind it in the queue is handed over after it.
    await add('k');
    await eventually('the next one is held', () => begun.includes('k'));
    assert.deepEqual(begun, ['j', 'k']);
    open();
    for (const job of ['j', 'k'])
      await eventually('it is done', async () => (await state(job)) === 'completed');
    assert.deepEqual(begun, ['j', 'k']);
    await eventually('nothing is held', () => consumer.held.length === 0);
  });

  it('answers a second pickup that comes after the end with the first outcome', async () => {
    const { open, opened } = gate();
    let begun = 0;
    const onDispatch = async () => {
      begun += 1;
      await opened;
      return { status: 'completed', exitCode: begun };
    };
    // One place only: the second pickup can't come before the first has ended.
    const consumer = here.consumer('a', onDispatch, { concurrency: 1 });
    await add('j');
    await eventually('it is held', () => consumer.held.length === 1);
    await loseLock('j');
    open();
    await eventually('it is done', async () => (await state('j')) === 'completed');
    assert.equal(begun, 1);
  });

  it('joins a pickup of what was adopted before', async () => {
    const { open, opened } = gate();
    let begun = 0;
    const consumer = here.consumer('a', async () => {
      begun += 1;
      return { status: 'completed', exitCode: 0 };
    });
    const adopted = consumer.adopt({ jobId: 'j', epoch: 1 }, async () => {
      await opened;
      return { status: 'completed', exitCode: 7 };
    });
    await add('j');
    await eventually('it was picked up', async () => (await state('j')) === 'active');
    open();
    assert.equal((await adopted).exitCode, 7);
    await eventually('it is done', async () => (await state('j')) === 'completed');
    assert.equal(begun, 0);
  });

  it('detaches without waiting for the job, and leaves the dispatch to a successor', async () => {
    const consumer = here.consumer('a', (_, { detached }) => {
      return new Promise((_resolve, reject) =>
        detached.addEventListener('abort', () => reject(new Error('let go'))),
      );
    });
    await add('j');
    await eventually('it is held', () => consumer.held.length === 1);
    await consumer.detach();
    assert.equal(await state('j'), 'waiting');
    here.consumer('a', async () => ({ status: 'completed', exitCode: 0 }));
    await eventually('the successor has it', async () => (await state('j')) === 'completed');
  });

  it('detaches while Redis is away', async () => {
    const consumer = here.consumer('a', () => new Promise(() => undefined));
    await add('j');
    await eventually('it is held', () => consumer.held.length === 1);
    await here.redis.halt();
    try {
      await eventually('the outage is noticed', () => here.resources.connection.status !== 'ready');
      const begun = performance.now();
      await consumer.detach();
      assert.ok(performance.now() - begun < 5_000);
    } finally {
      await here.redis.start();
    }
  });

  it('takes nothing new once it is paused, and lets what it holds go on', async () => {
    const { open, opened } = gate();
    const consumer = here.consumer('a', async () => {
      await opened;
      return { status: 'completed', exitCode: 0 };
    });
    await add('j');
    await eventually('it is held', () => consumer.held.length === 1);
    await consumer.pause();
    await add('k');
    open();
    await eventually('the first is done', async () => (await state('j')) === 'completed');
    assert.equal(await state('k'), 'waiting');
  });

  it('replaces a queue worker that has stopped fetching, and keeps what it holds', async () => {
    const { open, opened } = gate();
    const taken: string[] = [];
    const consumer = here.consumer(
      'a',
      async ({ jobId }) => {
        taken.push(jobId);
        if (jobId === 'held') await opened;
        return { status: 'completed', exitCode: 0 };
      },
      { canaryEveryMs: 100, canaryLateMs: 300 },
    );
    await add('held');
    await eventually('it is held', () => consumer.held.length === 1);
    // Nobody fetches from a queue that is paused, as nobody does from one whose worker is stuck.
    const queue = here.resources.queues.run('a');
    await queue.pause();
    await add('next');
    const before = await workersOf();
    await eventually('another worker is there', async () =>
      (await workersOf()).some((id) => !before.includes(id)),
    );
    await queue.resume();
    await eventually('the next one is taken', () => taken.includes('next'));
    open();
    await eventually('the first is done', async () => (await state('held')) === 'completed');
    assert.deepEqual(taken, ['held', 'next']);

    async function workersOf(): Promise<string[]> {
      return (await queue.getWorkers()).map((worker) => worker['id'] ?? '');
    }
  });

  it('goes on after Redis was gone', async () => {
    here.consumer('a', async () => ({ status: 'completed', exitCode: 0 }));
    await add('j');
    await eventually('it is done', async () => (await state('j')) === 'completed');
    await here.redis.outage(1_000);
    await eventually('the queue takes it', () => add('k').then(() => true));
    await eventually('it is done', async () => (await state('k')) === 'completed');
  });
});
