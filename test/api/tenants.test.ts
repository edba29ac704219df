import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'mocha';
import { Caller } from '../support/http.ts';
import { makeCompleted } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';

const NONE = { running_jobs: null, cpus: null, memory_gb: null, queued_jobs: null, kept_mb: null };
const IDLE = { running_jobs: 0, cpus: 0, memory_gb: 0, queued_jobs: 0, kept_mb: 0 };

interface Details {
  readonly dimension: string;
  readonly limit: number;
  readonly used: number;
  readonly requested: number;
}

describe('tenants', () => {
  let api: RunningApi;
  let builds: Caller;
  before(async () => {
    api = await startApi({ tenantDefaults: { queuedJobs: 100 } });
    const scopes = ['jobs:read', 'jobs:write'];
    const made = await api.caller.json('POST', '/tokens', { name: 'ci', owner: 'builds', scopes });
    builds = new Caller(api.server.url, String(made.body['token']));
  });
  after(() => api.stop());
  afterEach(() => remove(api.caller, '/tenants/builds'));

  const remove = async (caller: Caller, path: string): Promise<number> =>
    (await caller.fetch(path, { method: 'DELETE' })).status;

  const set = async (body: object): Promise<void> => {
    const { status, body: answer } = await api.caller.json('PUT', '/tenants/builds', body);
    assert.equal(status, 200, JSON.stringify(answer));
  };
  const submit = (request: object = {}) =>
    builds.json('POST', '/jobs', { type: 'worker', command: 'true', cpus: 1, memory_gb: 1, ...request });
  const refusedAs = async (details: Details, request: object = {}): Promise<void> => {
    const { status, body } = await submit(request);
    assert.equal(status, 409, JSON.stringify(body));
    assert.equal(body['error'], 'quota_exceeded');
    assert.deepEqual(body['details'], details);
    for (const amount of [details.limit, details.used, details.requested])
      assert.match(String(body['message']), new RegExp(`\\b${amount}\\b`));
  };

  it('have the defaults of the settings until an admin sets something', async () => {
    const path = '/tenants/builds';
    const limits = { ...NONE, queued_jobs: 100 };
    const before = { owner: 'builds', weight: 1, limits, used: IDLE, overridden: false };
    assert.deepEqual((await api.caller.json('GET', path)).body, before);

    const request = { weight: 2.5, limits: { cpus: 16, queued_jobs: null } };
    const after = { ...before, weight: 2.5, limits: { ...NONE, cpus: 16 }, overridden: true };
    assert.deepEqual((await api.caller.json('PUT', path, request)).body, after);
    assert.deepEqual((await api.caller.json('GET', path)).body, after);
    assert.deepEqual((await api.caller.json('GET', '/tenants')).body, { tenants: [after] });

    await set({});
    assert.deepEqual((await api.caller.json('GET', path)).body, { ...before, overridden: true });
    assert.equal(await remove(api.caller, path), 204);
    assert.equal(await remove(api.caller, path), 404);
    assert.deepEqual((await api.caller.json('GET', '/tenants')).body, { tenants: [] });
  });

  it('are each other’s secret: without admin an owner sees its own', async () => {
    assert.equal((await builds.json('GET', '/tenants/builds')).status, 200);
    assert.equal((await builds.json('GET', '/tenants/default')).status, 404);
    assert.equal((await builds.json('GET', '/tenants')).status, 403);
    assert.equal((await builds.json('PUT', '/tenants/builds', { weight: 9 })).status, 403);
    assert.equal(await remove(builds, '/tenants/builds'), 403);
  });

  it('take no weight of nothing, no part of a job, and no name that no token has', async () => {
    for (const body of [
      { weight: 0 },
      { weight: -1 },
      { limits: { cpus: -1 } },
      { limits: { cpus: 1.5 } },
      { limits: { gpus: 1 } },
      { owner: 'x' },
    ]) {
      assert.equal((await api.caller.json('PUT', '/tenants/builds', body)).status, 400, JSON.stringify(body));
    }
    assert.equal((await api.caller.json('PUT', '/tenants/a%20b', {})).status, 400);
  });

  it('may have its limit of jobs waiting, of 50 created at the same moment', async () => {
    await set({ limits: { queued_jobs: 10 } });
    const answers = await Promise.all(Array.from({ length: 50 }, () => submit()));
    const statuses = Map.groupBy(answers, ({ status }) => status);
    assert.deepEqual([statuses.get(201)?.length, statuses.get(409)?.length], [10, 40]);
    await refusedAs({ dimension: 'queued_jobs', limit: 10, used: 10, requested: 1 });
    const shown = await builds.json<{ used: object }>('GET', '/tenants/builds');
    assert.deepEqual(shown.body.used, { ...IDLE, queued_jobs: 10 });
    for (const { body, status } of answers)
      if (status === 201) assert.equal(await remove(builds, `/jobs/${String(body['job_id'])}`), 200);
    const again = await submit();
    assert.equal(again.status, 201);
    await remove(builds, `/jobs/${String(again.body['job_id'])}`);
  });

  it('may keep artifacts up to their limit; a job that asks for more is refused, and what is kept is told', async () => {
    // An owner of its own, since what it keeps stays.
    const scopes = ['jobs:read', 'jobs:write'];
    const made = await api.caller.json('POST', '/tokens', { name: 'keeps', owner: 'keeps', scopes });
    const keeps = new Caller(api.server.url, String(made.body['token']));
    assert.equal((await api.caller.json('PUT', '/tenants/keeps', { limits: { kept_mb: 1 } })).status, 200);
    const id = await keeps.submit('true', { keep_hours: 168 });
    const file = { name: 'a', sizeBytes: 2 ** 20, sha256: '0'.repeat(64), createdAt: Date.now() };
    const { completedAt } = await makeCompleted(api.store, id, [file]);
    const list = await keeps.json<{ expires_at: string }>('GET', `/jobs/${id}/artifacts`);
    assert.equal(Date.parse(list.body.expires_at) - (completedAt ?? 0), 168 * 3_600_000);
    const request = { type: 'worker', command: 'true', keep_hours: 2 };
    for (const path of ['/jobs', '/job-checks']) {
      const { status, body } = await keeps.json('POST', path, request);
      assert.deepEqual([status, body['error']], [409, 'quota_exceeded']);
      assert.deepEqual(body['details'], { dimension: 'kept_mb', limit: 1, used: 1, requested: 1 });
    }
    const shown = await keeps.json<{ used: Record<string, number> }>('GET', '/tenants/keeps');
    assert.equal(shown.body.used['kept_mb'], 1);
    const { keep_hours: _none, ...other } = request;
    assert.equal((await keeps.json('POST', '/job-checks', other)).status, 200);
    assert.equal(await remove(api.caller, '/tenants/keeps'), 204);
  });

  it('are refused a job that alone is more than they may hold, and nothing waits in vain', async () => {
    await set({ limits: { cpus: 2, memory_gb: 3 } });
    await refusedAs({ dimension: 'cpus', limit: 2, used: 0, requested: 4 }, { cpus: 4 });
    await refusedAs({ dimension: 'memory_gb', limit: 3, used: 0, requested: 4 }, { memory_gb: 4 });
    const { body } = await builds.json<{ total: number }>('GET', '/jobs?status=active');
    assert.equal(body.total, 0);
  });

  it('are told their own limit from a full host when a job is not to wait', async () => {
    const now = { when_busy: 'reject' };
    const capacity = { cpusMilli: 2_000, memoryMib: 4_096 };
    const { semaphore } = api.queues;
    await semaphore.restoring('t');
    await semaphore.found('t');
    const generation = await semaphore.register('h', capacity, 30_000, null);
    const hold = {
      jobId: 'held',
      epoch: 1,
      owner: 'builds',
      cpusMilli: 1_000,
      memoryMib: 1_024,
      endsBy: null,
    };
    await semaphore.sync('h', generation, async () => [hold]);

    await set({ limits: { running_jobs: 1 } });
    await refusedAs({ dimension: 'running_jobs', limit: 1, used: 1, requested: 1 }, now);
    await set({ limits: { cpus: 2 } });
    await refusedAs({ dimension: 'cpus', limit: 2, used: 1, requested: 2 }, { ...now, cpus: 2 });
    await set({ limits: { memory_gb: 2 } });
    await refusedAs({ dimension: 'memory_gb', limit: 2, used: 1, requested: 2 }, { ...now, memory_gb: 2 });
    await set({ limits: {} });
    const full = await submit({ ...now, cpus: 2 });
    assert.deepEqual([full.status, full.body['error']], [429, 'insufficient_resources']);

    // One that may wait waits.
    await set({ limits: { running_jobs: 1 } });
    const waits = await submit();
    assert.equal(waits.status, 201);
    const { body } = await builds.json<{ used: object }>('GET', '/tenants/builds');
    assert.deepEqual(body.used, { running_jobs: 1, cpus: 1, memory_gb: 1, queued_jobs: 1, kept_mb: 0 });
    await remove(builds, `/jobs/${String(waits.body['job_id'])}`);
  });
});
