import assert from 'node:assert/strict';
import { it } from 'mocha';
import { describeQueues } from './describe-queues.ts';

describeQueues('images that hosts are to remove', (here) => {
  const removal = { reference: 'node:latest', packages: [], owner: null };

  it('are told to a host until somebody has its word', async () => {
    const { imageRemovals } = here.resources;
    const id = await imageRemovals.ask(['a'], removal);
    assert.deepEqual([...(await imageRemovals.wanted('a'))], [[id, removal]]);
    assert.equal((await imageRemovals.wanted('b')).size, 0);
    await imageRemovals.say('a', id, { state: 'removed' });
    assert.equal((await imageRemovals.wanted('a')).size, 0);
    assert.deepEqual([...(await imageRemovals.outcomes(id))], [['a', { state: 'removed' }]]);
  });

  it('are not told any more when nobody waits, though another was asked for since', async () => {
    const { imageRemovals, connection, keys } = here.resources;
    const id = await imageRemovals.ask(['a'], removal);
    // As if it had been asked for long ago.
    await connection.hset(keys.hostRemovals('a'), id, JSON.stringify({ removal, untilMs: 1 }));
    const later = await imageRemovals.ask(['a'], removal);
    assert.deepEqual([...(await imageRemovals.wanted('a')).keys()], [later]);
  });
});
