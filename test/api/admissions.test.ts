import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { newUploadId } from '../../src/ids.ts';
import { Caller } from '../support/http.ts';
import { type RunningApi, startApi } from './running-api.ts';

const GB = 1_024;
const LEASE_MS = 60_000;

/** Jobs with `when_busy: reject`, an API and a Redis; hosts are only registered. */
describe('a job that may not wait', () => {
  let api: RunningApi;

  beforeEach(async () => {
    api = await startApi();
    const { semaphore } = api.queues;
    await semaphore.restoring('t');
    await semaphore.found('t');
    const generation = await semaphore.register('h', { cpusMilli: 2_000, memoryMib: 8 * GB }, LEASE_MS, null);
    await semaphore.sync('h', generation, async () => []);
  });
  afterEach(() => api.stop());

  const submit = (more: Record<string, unknown>, caller = api.caller) =>
    caller.json('POST', '/jobs', {
      ...{ type: 'worker', command: 'true', cpus: 2, memory_gb: 1, when_busy: 'reject' },
      ...more,
    });
  const held = async () =>
    (await api.queues.semaphore.view()).reservations.map(({ jobId, host }) => [jobId, host]);
  const waiting = async () => (await api.queues.queue.capacity()).queue.length;

  it('starts at once, and of ten at the same moment on room for one, one', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => submit({})));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array<number>(9).fill(429)]);
    const [started] = answers.filter(({ status }) => status === 201);
    assert.equal(started?.body['status'], 'starting');
    assert.deepEqual(await held(), [[started.body['job_id'], 'h']]);
    const { body } = await api.caller.json<{ total: number }>('GET', '/jobs');
    assert.deepEqual([body.total, await waiting()], [1, 0], 'none of the others was ever a job');
    const job = await api.caller.job(String(started.body['job_id']));
    assert.deepEqual([job['host'], job['epoch']], ['h', 1]);
  });

  it('starts beside jobs that wait for what it does not need', async () => {
    assert.equal((await submit({ when_busy: 'queue', cpus: 8 })).body['status'], 'queued');
    assert.equal((await submit({})).body['status'], 'starting');
    assert.equal(await waiting(), 1);
  });

  it('takes no room that is kept for jobs that wait', async () => {
    const scopes = ['jobs:read', 'jobs:write'];
    const made = await api.caller.json('POST', '/tokens', { name: 'o', owner: 'other', scopes });
    const other = new Caller(api.server.url, String(made.body['token']));
    assert.equal((await submit({ cpus: 1, timeout_minutes: 5 })).status, 201);
    // It needs all of the host, and half of it is free.
    assert.equal((await submit({ when_busy: 'queue', cpus: 2 }, other)).body['status'], 'queued');
    const refused = await submit({ cpus: 1, timeout_minutes: 60 });
    assert.deepEqual([refused.status, refused.body['error']], [429, 'insufficient_resources']);
    assert.match(String(refused.body['message']), /kept for jobs that are already waiting/);
    assert.deepEqual(refused.body['available'], { cpus: 1, memory_gb: 7 });
    // One that is gone by then delays nobody.
    assert.equal((await submit({ cpus: 1, timeout_minutes: 1 })).status, 201);
  });

  it('that is not accepted holds no room, and a question whether it would be neither', async () => {
    assert.equal((await submit({ files_id: newUploadId() })).status, 404);
    assert.deepEqual(await held(), []);
    const question = { type: 'worker', command: 'true', cpus: 2, memory_gb: 1, when_busy: 'reject' };
    assert.equal((await api.caller.json('POST', '/job-checks', question)).status, 200);
    assert.deepEqual(await held(), []);
    assert.equal((await submit({})).status, 201);
    const { body } = await api.caller.json('POST', '/job-checks', question);
    assert.equal(body['error'], 'insufficient_resources');
  });

  it('is refused by the host’s disk as well', async () => {
    const { semaphore } = api.queues;
    const disk = { mostMib: 10 * GB, place: 'd' };
    const capacity = { cpusMilli: 2_000, memoryMib: 8 * GB, diskMib: 3 * GB };
    const generation = await semaphore.register('h', capacity, LEASE_MS, null, { disk });
    await semaphore.sync('h', generation, async () => []);
    assert.equal((await submit({ cpus: 1, disk_gb: 2 })).status, 201);
    assert.equal((await submit({ cpus: 1, disk_gb: 2 })).status, 429);
    assert.equal((await submit({ cpus: 1, disk_gb: 1 })).status, 201);
  });
});
