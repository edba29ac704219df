import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import type { Announcements } from '../../src/jobs/ports.ts';
import { eventually } from '../support/eventually.ts';
import type { Answer, JobAnswer } from '../support/http.ts';
import { into } from '../support/jobs.ts';
import { makeRunning } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';

/** What `GET /jobs` and `POST /jobs` promise to many callers at once. */
describe('the contract for crowds', () => {
  let api: RunningApi;
  let listening = 0;

  /** The real announcements, and how many listen to them. */
  const counted = (own: Announcements): Announcements =>
    new Proxy(own, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (name === 'subscribe') {
          return (jobId: string, listener: () => void) => {
            listening += 1;
            const stop = target.subscribe(jobId, listener);
            return () => {
              listening -= 1;
              stop();
            };
          };
        }
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });

  before(async () => {
    api = await startApi({ announcements: counted });
  });
  after(() => api.stop());

  describe('an idempotency key', () => {
    it('stands for the request after defaults and clamping, in any order of its fields', async () => {
      const key = randomUUID();
      const create = (body: object): Promise<Answer> =>
        api.caller.json('POST', '/jobs', { client_job_id: key, type: 'worker', command: 'make', ...body });
      const first = await create({ labels: { a: '1', b: '2' }, env: { X: '1', Y: '2' }, cpus: 99 });
      assert.equal(first.status, 201);
      const same = [
        { env: { Y: '2', X: '1' }, labels: { b: '2', a: '1' }, cpus: 8 },
        { cpus: 1_000, env: { X: '1', Y: '2' }, labels: { a: '1', b: '2' }, memory_gb: 4, priority: 5 },
        {
          cpus: 8,
          env: { X: '1', Y: '2' },
          labels: { a: '1', b: '2' },
          network: 'internet',
          when_busy: 'queue',
        },
      ];
      for (const body of same) {
        const again = await create(body);
        assert.deepEqual(
          [again.status, again.body['created'], again.body['job_id'], again.body['cpus']],
          [200, false, first.body['job_id'], 8],
          JSON.stringify(body),
        );
      }
      const base = { labels: { a: '1', b: '2' }, env: { X: '1', Y: '2' }, cpus: 8 };
      const others = [
        { command: 'make ' },
        { cpus: 7 },
        { labels: { a: '1' } },
        { labels: { a: '1', b: '3' } },
        { env: { X: '1', Y: '2', Z: '' } },
        { priority: 6 },
        { network: 'none' },
        { when_busy: 'reject' },
        { max_queue_seconds: 5 },
        { timeout_minutes: 29 },
        { image: 'other' },
      ];
      for (const other of others) {
        const { status, body } = await create({ ...base, ...other });
        assert.deepEqual([status, body['error']], [409, 'idempotency_key_reused'], JSON.stringify(other));
        assert.deepEqual(body['details'], { job_id: first.body['job_id'] });
      }
    });

    it('of 20 rivals with two different requests serves one request and tells the others', async () => {
      const key = randomUUID();
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          api.caller.json('POST', '/jobs', { client_job_id: key, type: 'worker', command: `make ${n % 2}` }),
        ),
      );
      const statuses = answers.map(({ status }) => status);
      const count = (status: number): number => statuses.filter((each) => each === status).length;
      assert.deepEqual([count(201), count(200), count(409)], [1, 9, 10]);
    });

    it('is free again for another request once the job is cleaned', async () => {
      const key = randomUUID();
      const create = (command: string): Promise<Answer> =>
        api.caller.json('POST', '/jobs', { client_job_id: key, type: 'worker', command });
      const id = String((await create('a')).body['job_id']);
      await api.caller.json('DELETE', `/jobs/${id}`);
      assert.equal((await create('b')).status, 409);
      await api.store.transition(id, { from: ['cancelled'], ...into('cleaning'), actor: 'test' });
      assert.equal((await create('b')).status, 409);
      await api.store.transition(id, { from: ['cleaning'], ...into('cleaned'), actor: 'test' });
      assert.equal((await create('b')).status, 201);
    });
  });

  it('pages show every job that was there once and none twice, while more are added', async () => {
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 12 }),
        fc.array(
          fc.record({ limit: fc.integer({ min: 1, max: 5 }), added: fc.integer({ min: 0, max: 4 }) }),
          {
            minLength: 1,
            maxLength: 20,
          },
        ),
        async (count, steps) => {
          const label = `round${(round += 1)}`;
          const add = (): Promise<string> => api.caller.submit('true', { labels: { label } });
          const ids: string[] = [];
          for (let n = 0; n < count; n += 1) ids.unshift(await add());
          const seen: string[] = [];
          let cursor: string | null = '';
          for (let page = 0; cursor !== null; page += 1) {
            const { limit = 5, added = 0 } = steps[page % steps.length] ?? {};
            const query: string = `label=label:${label}&limit=${limit}${cursor === '' ? '' : `&cursor=${cursor}`}`;
            const { body } = await api.caller.json<{ jobs: JobAnswer[]; next_cursor: string | null }>(
              'GET',
              `/jobs?${query}`,
            );
            seen.push(...body.jobs.map(({ id }) => id));
            cursor = body.next_cursor;
            for (let n = 0; n < added; n += 1) await add();
          }
          assert.deepEqual(seen, ids);
        },
      ),
      { numRuns: 15 },
    );
  });

  describe('200 that wait for a change', () => {
    it('are answered at once when it comes', async () => {
      const id = await api.caller.submit('true');
      const waiting = Array.from({ length: 200 }, () =>
        api.caller.json<JobAnswer>('GET', `/jobs/${id}?wait=30`),
      );
      await eventually('all wait', () => listening === 200);
      const begun = performance.now();
      await makeRunning(api.store, id);
      api.queues.announcements.announce(id, null);
      const answers = await Promise.all(waiting);
      assert.ok(performance.now() - begun < 3_000, `${performance.now() - begun} ms`);
      assert.ok(answers.every(({ body }) => body.status !== 'queued'));
      assert.equal(listening, 0);
    });

    it('leave nothing behind when they go', async () => {
      const id = await api.caller.submit('true');
      const timers = (): number =>
        process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
      const before = timers();
      const gone = new AbortController();
      const waiting = Array.from({ length: 200 }, () =>
        api.caller.fetch(`/jobs/${id}?wait=60`, { signal: gone.signal }).catch(() => null),
      );
      await eventually('all wait', () => listening === 200);
      gone.abort();
      await Promise.all(waiting);
      await eventually('nobody listens any more', () => listening === 0, { timeoutMs: 2_000 });
      await eventually('no timer is left', () => timers() <= before + 5, { timeoutMs: 5_000 });
    });
  });
});
