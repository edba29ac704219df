import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { ProcessRateLimiter, type RateLimiter } from '../../api/rate-limiter.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import { Caller } from '../support/http.ts';
import { eventually } from '../support/eventually.ts';
import { type RunningApi, startApi } from './running-api.ts';

describe('what may be open at once', () => {
  let api: RunningApi;
  let ending: AbortController;
  /** Buckets that a request was counted against. */
  let taken: string[];
  beforeEach(async () => {
    ending = new AbortController();
    taken = [];
    const bucket = new ProcessRateLimiter({ perSecond: 100_000, burst: 100_000 });
    const rateLimiter = (): RateLimiter => ({
      take: (key) => {
        taken.push(key);
        return bucket.take(key);
      },
      look: (key) => bucket.look(key),
    });
    api = await startApi({ config: { waitsPerToken: 5, streams: 40 }, rateLimiter });
  });
  afterEach(async () => {
    ending.abort();
    await api.stop();
  });

  async function another(owner: string): Promise<Caller> {
    const scopes = ['jobs:read', 'jobs:write', 'uploads:write'];
    const { body } = await api.caller.json('POST', '/tokens', { name: owner, owner, scopes });
    return new Caller(api.caller.url, String(body['token']));
  }
  const open = (caller: Caller, path: string, signal = ending.signal): Promise<Response> =>
    caller.fetch(path, { signal });
  const statusesOf = async (caller: Caller, path: string, count: number): Promise<number[]> =>
    (await Promise.all(Array.from({ length: count }, () => open(caller, path)))).map(({ status }) => status);

  it('are 32 streams of a token, and a number of all', async () => {
    const own = await statusesOf(api.caller, '/events', 32);
    assert.ok(own.every((status) => status === 200));
    const id = await api.caller.submit('true');
    for (const path of ['/events', `/jobs/${id}/events`]) {
      const refused = await open(api.caller, path);
      assert.equal(refused.status, 429);
      assert.ok(Number(refused.headers.get('retry-after')) > 0);
      const body = (await refused.json()) as { error: string; message: string; retryable: boolean };
      assert.deepEqual([body.error, body.retryable], ['too_many_open', true]);
      assert.match(body.message, /This token has 32 open streams/);
    }
    // What is short is answered all the same.
    assert.equal((await api.caller.job(id)).status, 'queued');
    const other = await another('other');
    assert.deepEqual((await statusesOf(other, '/events', 9)).sort(), [...Array<number>(8).fill(200), 429]);
    ending.abort();
    ending = new AbortController();
    await eventually(
      'one that has ended leaves room',
      async () => (await open(other, '/events')).status === 200,
    );
  });

  it('are counted over the requests that wait', async () => {
    const id = await api.caller.submit('true');
    const first = Promise.all(Array.from({ length: 5 }, () => open(api.caller, `/jobs/${id}?wait=20`)));
    await eventually(
      'the next one is refused',
      async () => (await open(api.caller, `/jobs/${id}?wait=1`)).status === 429,
    );
    assert.equal((await open(api.caller, `/jobs/${id}`)).status, 200);
    await api.caller.fetch(`/jobs/${id}`, { method: 'DELETE' });
    for (const { status } of await first) assert.equal(status, 200);
    assert.equal((await open(api.caller, `/jobs/${id}?wait=1`)).status, 200);
  });

  it('are counted over the searches of logs', async () => {
    const id = await api.caller.submit('true');
    await mkdir(join(api.dir, 'logs'));
    const spoolPath = join(api.dir, 'spool');
    await writeFile(spoolPath, `2026-01-02T03:04:05.678901234+00:00 stdout F ${'a'.repeat(60)}b\n`);
    await (await new LocalLogStore(join(api.dir, 'logs')).capture({ jobId: id, spoolPath })).finish();
    const path = `/jobs/${id}/output?grep=${encodeURIComponent('^(a+)+$')}`;
    const statuses = await statusesOf(api.caller, path, 12);
    assert.ok(statuses.includes(400) && statuses.includes(429), statuses.join(' '));
  });

  it('are counted over the logs that are sent whole, which end with their token', async () => {
    const { status, body } = await api.caller.json('POST', '/tokens', {
      name: 'short',
      owner: 'short',
      scopes: ['jobs:read', 'jobs:write'],
    });
    assert.equal(status, 201);
    const caller = new Caller(api.caller.url, String(body['token']));
    const id = await caller.submit('true');
    await mkdir(join(api.dir, 'logs'));
    const spoolPath = join(api.dir, 'spool');
    const line = `2026-01-02T03:04:05.678901234+00:00 stdout F ${'x'.repeat(8_000)}\n`;
    await writeFile(spoolPath, line.repeat(4_000));
    await (await new LocalLogStore(join(api.dir, 'logs')).capture({ jobId: id, spoolPath })).finish();
    // Nobody reads their bodies.
    const path = `/jobs/${id}/output?format=raw`;
    const answers = await Promise.all(Array.from({ length: 33 }, () => open(caller, path)));
    const statuses = answers.map((answer) => answer.status).sort();
    assert.deepEqual(statuses, [...Array<number>(32).fill(200), 429]);
    const other = await another('other');
    assert.deepEqual((await statusesOf(other, '/events', 9)).sort(), [...Array<number>(8).fill(200), 429]);
    assert.equal((await api.caller.fetch('/tokens/short', { method: 'DELETE' })).status, 204);
    await eventually('those of the token have ended', async () => {
      return (await open(other, '/events')).status === 200;
    });
    const one = answers.find((answer) => answer.status === 200);
    await assert.rejects(async () => await one?.arrayBuffer());
  });

  it('are 20 uploads of an owner, however many come together', async () => {
    const create = (caller: Caller) => caller.json('POST', '/uploads', {});
    const made = await Promise.all(Array.from({ length: 30 }, () => create(api.caller)));
    const good = made.filter(({ status }) => status === 201);
    assert.equal(good.length, 20);
    const refused = made.find(({ status }) => status !== 201);
    assert.equal(refused?.status, 429);
    assert.equal(refused?.body['error'], 'too_many_open');
    assert.match(String(refused?.body['message']), /20 open uploads.*finalize or delete some/);
    assert.equal((await create(await another('other'))).status, 201);
    const id = String(good[0]?.body['upload_id']);
    assert.equal((await api.caller.fetch(`/uploads/${id}`, { method: 'DELETE' })).status, 204);
    assert.equal((await create(api.caller)).status, 201);
  });

  it('are 20 messages of a batch of MCP, each counted', async () => {
    const post = (body: unknown, session?: string): Promise<Response> =>
      api.caller.fetch('/mcp', {
        method: 'POST',
        body: JSON.stringify(body),
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          ...(session === undefined ? {} : { 'mcp-session-id': session }),
        },
      });
    const begun = await post({
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: { protocolVersion: '2025-03-26', capabilities: {}, clientInfo: { name: 'x', version: '1' } },
    });
    const session = begun.headers.get('mcp-session-id') ?? '';
    await begun.text();
    const batch = (count: number): object[] =>
      Array.from({ length: count }, (_, id) => ({ jsonrpc: '2.0', id: id + 1, method: 'tools/list' }));
    const large = await post(batch(21), session);
    assert.equal(large.status, 413);
    assert.match(await large.text(), /at most 20 messages; this one holds 21/);
    taken.length = 0;
    const answer = await post(batch(10), session);
    assert.equal(answer.status, 200);
    await answer.text();
    assert.equal(taken.filter((key) => key.startsWith('token:')).length, 10);
  });

  it('leave an `env` of 64 kB to a job, which no list has to read', async () => {
    const env = { A: 'x'.repeat(60_000) };
    const id = await api.caller.submit('true', { env });
    const { status, body } = await api.caller.json('POST', '/jobs', {
      type: 'worker',
      command: 'true',
      env: { A: 'x'.repeat(40_000), B: 'x'.repeat(40_000) },
    });
    assert.equal(status, 400);
    assert.match(String(body['message']), /at most 65536 bytes together/);
    const filter = { owner: null, states: null, type: null, label: null, limit: 1, beforePosition: null };
    assert.deepEqual(
      (await api.queries.list(filter)).jobs.map((job) => job.env),
      [{}],
    );
    assert.deepEqual((await api.journal.readWithJobs({ limit: 5 })).map(({ job }) => job.env)[0], {});
    assert.deepEqual((await api.queries.get(id))?.env, env);
    const { body: again } = await api.caller.json('POST', `/jobs/${id}/rerun`);
    assert.deepEqual((await api.queries.get(String(again['job_id'])))?.env, env);
  });
});
