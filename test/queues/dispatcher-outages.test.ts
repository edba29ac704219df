import assert from 'node:assert/strict';
import { it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { describeQueues } from './describe-queues.ts';

describeQueues('the dispatcher, when Redis', (here) => {
  it('is gone for 5 seconds, carries on and loses nothing', async () => {
    const host = await here.openHost('a', 2);
    const runs: string[] = [];
    here.consumer(
      'a',
      here.processor(host, (job) => void runs.push(job.id)),
    );
    here.dispatcher('a');
    const before = await here.submit();
    await here.becomes(before, 'completed');
    const outage = here.redis.outage(5_000);
    await eventually('the outage is noticed', () => here.resources.connection.status !== 'ready');
    const during = await here.submit({ enqueue: false });
    await outage;
    await eventually(
      'the host is asked to synchronise',
      async () => (await here.resources.semaphore.beat('a', host.generation)) === 'synchronise',
    );
    assert.match(await here.status(during), /pending|queued/);
    await here.resources.semaphore.sync('a', host.generation, async () => []);
    const afterwards = await here.submit();
    await here.becomes(during, 'completed');
    await here.becomes(afterwards, 'completed');
    assert.deepEqual(runs.sort(), [before.id, during.id, afterwards.id].sort());
  });

  it('does not say whether it was restarted, nothing starts until it does', async () => {
    const { connection } = here.resources;
    const host = await here.openHost('a', 1);
    here.consumer('a', here.processor(host));
    await here.declareWhole();
    const job = await here.submit();
    await connection.acl('SETUSER', 'default', '-info');
    try {
      here.dispatcher('a');
      await eventually('it was asked again', async () => {
        const log = JSON.stringify(await connection.acl('LOG'));
        return [...log.matchAll(/"count",(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0) > 2;
      });
      assert.equal(await here.status(job), 'queued');
    } finally {
      await connection.acl('SETUSER', 'default', '+info');
    }
    await here.becomes(job, 'completed');
  });

  it('lost its data, waits for the hosts and starts jobs in their old order', async () => {
    const host = await here.openHost('a', 1);
    await here.openHost('b', 1);
    await here.declareWhole();
    const running = await here.submit();
    await here.reserve(running, 'a');
    await here.setStarting(running, 'a');
    const waiting = [await here.submit(), await here.submit({ priority: 1 }), await here.submit()];
    await here.resources.connection.flushall();
    here.dispatcher('a', { leaseMs: 600_000 });
    await eventually(
      'the rows are back in the queue',
      async () => (await here.resources.waiting.overview()).length === 3,
    );
    await eventually(
      'the hosts are expected',
      async () => (await here.resources.semaphore.view()).hosts.length === 2,
    );
    assert.deepEqual(await here.resources.semaphore.beat('a', host.generation), 'register');

    // The host comes back with what it runs; the other one is awaited.
    await here.openHost('a', 1, 1, [
      {
        jobId: running.id,
        epoch: 1,
        owner: running.owner,
        cpusMilli: 1_000,
        memoryMib: 1_024,
        endsBy: null,
      },
    ]);
    assert.equal((await here.resources.semaphore.view()).whole, false);
    await here.openHost('b', 1);
    const [first, urgent, last] = waiting;
    assert.ok(first && urgent && last);
    await here.becomes(urgent, 'starting');
    assert.equal((await here.row(urgent.id)).host, 'b');
    assert.deepEqual([await here.status(first), await here.status(last)], ['queued', 'queued']);
    assert.equal(await here.resources.waiting.place(first.id), 1);
    assert.equal(await here.status(running), 'starting');
  });

  it('lost its data, goes on without a host that does not come back in a lease’s time', async () => {
    await here.openHost('a', 1);
    await here.openHost('dead', 1);
    const job = await here.submit();
    await here.resources.connection.flushall();
    await here.openHost('a', 1);
    here.dispatcher('a', { leaseMs: 500 });
    await here.becomes(job, 'starting');
    assert.equal((await here.row(job.id)).host, 'a');
    assert.equal(
      (await here.resources.queue.capacity()).hosts.find(({ name }) => name === 'dead')?.state,
      'suspect',
    );
  });
});
