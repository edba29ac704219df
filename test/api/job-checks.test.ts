import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type RunningApi, startApi } from './running-api.ts';

describe('a check of a request', () => {
  let api: RunningApi;
  beforeEach(async () => (api = await startApi()));
  afterEach(() => api.stop());

  interface Answer {
    readonly error?: string;
    readonly message?: string;
    readonly details?: unknown;
    readonly notes?: readonly string[];
    readonly job_id?: string;
    readonly owner?: string;
    readonly cpus?: number;
    readonly command?: string;
    readonly timeout_minutes?: number;
  }
  const ask = (path: string, body: unknown) => api.caller.json<Answer>('POST', path, body);

  it('answers with the request as it would be in force, and creates nothing', async () => {
    const { status, body } = await ask('/job-checks', { type: 'worker', command: 'make', cpus: 99 });
    assert.equal(status, 200);
    assert.deepEqual([body.command, body.cpus, body.timeout_minutes], ['make', 8, 30]);
    assert.deepEqual(body.notes, [
      '`cpus` of 99 is more than a job of type worker may have here: it gets 8.',
    ]);
    const { body: list } = await api.caller.json<{ total: number }>('GET', '/jobs?status=all');
    assert.equal(list.total, 0);
    const created = await ask('/jobs', { type: 'worker', command: 'make', cpus: 99 });
    assert.deepEqual(created.body.notes, body.notes);
  });

  it('says in the job’s own answer, and to who asks again, whose it is and what was lowered', async () => {
    const request = { type: 'worker', command: 'make', cpus: 99, client_job_id: randomUUID() };
    const { body: created } = await ask('/jobs', request);
    assert.deepEqual((await ask('/jobs', request)).body.notes, created.notes);
    const { body: job } = await api.caller.json<Answer>('GET', `/jobs/${created.job_id}`);
    const { body: list } = await api.caller.json<{ jobs: Answer[] }>('GET', '/jobs');
    for (const shown of [job, list.jobs[0]]) {
      assert.equal(shown?.owner, 'default');
      assert.deepEqual(shown.notes, created.notes);
    }
  });

  it('answers with the error that the creation would have', async () => {
    const wrong = [
      { type: 'worker' },
      { type: 'nobody' },
      { type: 'worker', command: 'x'.repeat(10_001) },
      { type: 'worker', command: '€'.repeat(3_334) },
      { type: 'worker', command: 'true', image: 'NO:NO:NO' },
      { type: 'worker', command: 'true', env: { 'A B': '1' } },
      { type: 'worker', command: 'true', cpus: 0 },
      { type: 'worker', command: 'true', surprise: 1 },
    ];
    for (const request of wrong) {
      const [checked, created] = [await ask('/job-checks', request), await ask('/jobs', request)];
      assert.equal(checked.status, created.status);
      assert.ok(checked.status >= 400 && checked.status < 500, JSON.stringify(request).slice(0, 80));
      const told = ({ error, message, details }: Answer): unknown => [error, message, details];
      assert.deepEqual(told(checked.body), told(created.body));
    }
    const { body } = await ask('/job-checks', { type: 'worker', command: '€'.repeat(3_334) });
    assert.match(body.message ?? '', /at most 10000 bytes of UTF-8, and is 10002: put it into a file/);
  });
});
