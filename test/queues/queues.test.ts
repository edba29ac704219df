import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { describeQueues } from './describe-queues.ts';

describeQueues('a queue that is opened', (here) => {
  it('in the moment in which Redis goes away works once it is back', async () => {
    const { connection, queues } = here.resources;
    const queue = queues.run('a');
    // What BullMQ asks at first is on its way, and is never answered.
    await new Promise(setImmediate);
    const isGone = once(connection, 'close');
    connection.stream.destroy();
    await isGone;
    await eventually('Redis is back', () => connection.status === 'ready');
    assert.equal(await queue.getWaitingCount(), 0);
    await queue.add('dispatch', { jobId: 'job_a', epoch: 1 });
    assert.equal(await queue.getWaitingCount(), 1);
  });
});
