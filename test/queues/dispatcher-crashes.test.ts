import assert from 'node:assert/strict';
import { it } from 'mocha';
import { dispatchId } from '../../src/ids.ts';
import { eventually } from '../support/eventually.ts';
import { describeQueues } from './describe-queues.ts';
import { LEASE_MS } from './installation.ts';
import { ageReservation, silenceHost } from '../support/redis-state.ts';
import { into } from '../support/jobs.ts';

describeQueues('the dispatcher finishes what a crash left', (here) => {
  it('after the reservation', async () => {
    await here.openHost('a', 1);
    await here.declareWhole();
    const job = await here.submit();
    await here.reserve(job, 'a');
    await ageReservation(here.resources, job.id);
    here.dispatcher('a');
    await here.becomes(job, 'starting');
    await eventually('the host has it', async () => (await here.inRunQueue(job, 'a')) === 'waiting');
  });
  it('after the compare-and-set', async () => {
    await here.openHost('a', 1);
    await here.declareWhole();
    const job = await here.submit();
    await here.reserve(job, 'a');
    await here.setStarting(job, 'a');
    await ageReservation(here.resources, job.id);
    here.dispatcher('a');
    await eventually('the host has it', async () => (await here.inRunQueue(job, 'a')) === 'waiting');
    assert.equal((await here.resources.waiting.overview()).length, 0);
    assert.equal((await here.row(job.id)).epoch, 1);
  });
  it('after the job was taken out of the intake', async () => {
    await here.openHost('a', 1);
    await here.declareWhole();
    const job = await here.submit();
    await here.reserve(job, 'a');
    await here.setStarting(job, 'a');
    await here.resources.queue.withdraw(job.id);
    await ageReservation(here.resources, job.id);
    here.dispatcher('a');
    await eventually('the host has it', async () => (await here.inRunQueue(job, 'a')) === 'waiting');
  });
  it('when the host’s queue holds half of an entry', async () => {
    await here.openHost('a', 1);
    await here.declareWhole();
    const job = await here.submit();
    await here.reserve(job, 'a');
    await here.setStarting(job, 'a');
    // BullMQ writes the entry first and its id into the list after; the second is not there.
    await here.resources.connection.hset(`${here.prefix}:run-a:${dispatchId(job.id, 1)}`, 'name', 'dispatch');
    await ageReservation(here.resources, job.id);
    here.dispatcher('a');
    await eventually('the host has it', async () => (await here.inRunQueue(job, 'a')) === 'waiting');
  });
  it('of a host that put the dispatch aside before it claimed it', async () => {
    const host = await here.openHost('a', 1);
    const process = here.processor(host);
    let tries = 0;
    here.consumer('a', (dispatch, context) => {
      tries += 1;
      if (tries === 1) return Promise.reject(new Error('the database is locked'));
      if (tries === 2) return Promise.resolve({ status: 'void', exitCode: null });
      return process(dispatch, context);
    });
    here.dispatcher('a');
    const job = await here.submit();
    await here.becomes(job, 'completed');
    assert.equal((await here.row(job.id)).epoch, 1);
    assert.equal(tries, 3);
  });
  it('of a job that has ended since', async () => {
    await here.openHost('a', 1);
    await here.declareWhole();
    const job = await here.submit();
    await here.reserve(job, 'a');
    await here.store.transition(job.id, { from: ['queued'], ...into('cancelled'), actor: 'test' });
    await ageReservation(here.resources, job.id);
    here.dispatcher('a');
    await eventually('nothing is held', async () => (await here.held()).length === 0);
    assert.equal(await here.status(job), 'cancelled');
  });
  it('of a host that went away before it claimed the job: another one gets it', async () => {
    await here.openHost('a', 1);
    await here.declareWhole();
    const job = await here.submit();
    await here.reserve(job, 'a');
    await here.setStarting(job, 'a');
    await here.resources.queue.withdraw(job.id);
    await ageReservation(here.resources, job.id);
    await silenceHost(here.resources, 'a', LEASE_MS + 1_000);
    await here.openHost('b', 1);
    here.dispatcher('b');
    await eventually('the other host has it', async () => (await here.inRunQueue(job, 'b', 2)) === 'waiting');
    assert.deepEqual([(await here.row(job.id)).host, (await here.row(job.id)).epoch], ['b', 2]);
  });
  it('in the database: rows that never reached the queue', async () => {
    await here.openHost('a', 1);
    await here.declareWhole(); // or the restoration after a loss of data would find it
    const job = await here.submit({ enqueue: false });
    here.dispatcher('a');
    await here.becomes(job, 'starting');
  });
  it('in the database: a row that waits again after a dispatch, before a whole page of others', async () => {
    const { store, resources } = here;
    await here.declareWhole(); // or the restoration after a loss of data would find them all
    const ahead = await Promise.all(Array.from({ length: 600 }, () => here.submit({ enqueue: false })));
    for (const job of ahead)
      await store.transition(job.id, { from: ['pending'], ...into('queued'), actor: 'test' });
    const back = await here.submit();
    await here.setStarting(back, 'a');
    await resources.queue.withdraw(back.id);
    await store.transition(back.id, { from: ['starting'], ...into('queued'), actor: 'test' });
    const last = ahead
      .map(({ id, position }) => ({ id, position }))
      .sort((x, y) => y.position - x.position)[0];
    assert.ok(last);
    here.dispatcher('a');
    await eventually('it is in the queue again', async () => {
      const missing = await resources.waiting.missing([back.id, last.id]);
      return missing.length === 1 && missing[0] === last.id;
    });
  });
  it('in the intake: entries of jobs that wait no more', async () => {
    const job = await here.submit();
    await here.store.transition(job.id, { from: ['queued'], ...into('cancelled'), actor: 'test' });
    await here.resources.waiting.leave(job.id);
    here.dispatcher('a');
    await eventually(
      'the entry is gone',
      async () => (await here.resources.queues.intake.getJob(job.id)) === undefined,
    );
  });
});
