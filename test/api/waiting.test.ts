import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { EventStream } from '../support/event-stream.ts';
import { eventually } from '../support/eventually.ts';
import { type RunningApi, startApi } from './running-api.ts';

const SIZE = { cpusMilli: 8_000, memoryMib: 8_192 };
const NONE = { cpusMilli: 0, memoryMib: 0 };
const REQUEST = { type: 'worker', command: 'true', cpus: 2, memory_gb: 2 };
const REASON =
  /^Waiting for 2 cpus and 2 GB: a has 0 cpus and 0 GB free\. (It is next|\d+ jobs? (is|are) ahead)\.$/;

describe('a waiting job in the API', () => {
  let api: RunningApi;
  const publish = () =>
    api.queues.outlook.publish({
      at: Date.now(),
      recovering: false,
      hosts: [{ name: 'a', state: 'up', capacity: SIZE, free: NONE }],
      jobs: {},
      plan: { at: Date.now(), offsets: [60_000, 120_000], spanMs: 180_000 },
    });

  before(async () => {
    api = await startApi();
    await publish();
  });
  after(() => api.stop());

  const check = (body: Record<string, unknown>, minutes: number): void => {
    assert.match(String(body['waiting_reason']), REASON);
    const inMs = Date.parse(String(body['latest_start'])) - Date.now();
    assert.equal(body['estimated_start'], body['latest_start']);
    assert.ok(Math.abs(inMs - minutes * 60_000) < 30_000, `starts in ${inMs} ms`);
  };

  it('shows place, reason and latest start: in the answer to its creation, alone, in lists and in events', async () => {
    const created = await api.caller.json('POST', '/jobs', REQUEST);
    assert.equal(created.body['queue_position'], 1);
    check(created.body, 1);
    const second = await api.caller.json('POST', '/jobs', REQUEST);
    const id = String(second.body['job_id']);
    check(second.body, 2);

    const { body } = await api.caller.json('GET', `/jobs/${id}`);
    assert.equal(body['queue_position'], 2);
    check(body, 2);

    const list = await api.caller.json<{ jobs: Record<string, unknown>[] }>('GET', '/jobs?status=active');
    assert.deepEqual(
      list.body.jobs.map((job) => job['queue_position']),
      [2, 1],
    );
    for (const [index, job] of list.body.jobs.entries()) check(job, 2 - index);

    const stream = await EventStream.open(api.caller, `/jobs/${id}/events`);
    const current = await eventually('the event of the present state', () =>
      stream.events.find(({ data }) => data['status'] === 'queued'),
    );
    check(current.data, 2);
    stream.close();
  });

  it('shows nothing of that once it waits no more', async () => {
    const { body } = await api.caller.json('POST', '/jobs', REQUEST);
    const id = String(body['job_id']);
    await api.caller.json('DELETE', `/jobs/${id}`);
    const after = (await api.caller.json('GET', `/jobs/${id}`)).body;
    assert.deepEqual(
      [after['queue_position'], after['waiting_reason'], after['latest_start']],
      [null, null, null],
    );
  });

  it('tells listeners when its reason becomes another one', async () => {
    const { body } = await api.caller.json('POST', '/jobs', REQUEST);
    const id = String(body['job_id']);
    const stream = await EventStream.open(api.caller, `/jobs/${id}/events`);
    await eventually('it is told that it is queued', () =>
      stream.events.find(({ data }) => data['status'] === 'queued'),
    );
    const before = stream.events.length;
    await api.store.noteWaiting(id, 0, 'Another one.', 'held_back');
    await eventually('an event comes', () => stream.events.length > before);
    assert.equal(stream.events.at(-1)?.data['status'], 'queued');
    check(stream.events.at(-1)?.data ?? {}, 4);
    stream.close();
  });

  it('says that the queue does not answer, and that the job is kept', async () => {
    const queued = String((await api.caller.json('POST', '/jobs', REQUEST)).body['job_id']);
    await api.redis.halt();
    try {
      await eventually('the outage is noticed', () => api.queues.connection.status !== 'ready');
      const { status, body } = await api.caller.json('POST', '/jobs', REQUEST);
      assert.deepEqual([status, body['status'], body['queue_position']], [201, 'pending', null]);
      assert.equal(
        body['waiting_reason'],
        'The queue does not answer at the moment. The job is accepted, and enters the queue when it is back.',
      );
      const kept = (await api.caller.json('GET', `/jobs/${queued}`)).body;
      assert.equal(
        kept['waiting_reason'],
        'The queue does not answer at the moment. The job keeps its place.',
      );
    } finally {
      await api.redis.start();
      await eventually('Redis is back', () => api.queues.connection.status === 'ready');
    }
  });
});
