import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { Caller } from '../support/http.ts';
import { type ApiProcesses, startTwoApis } from './api-processes.ts';
import { type RunningApi, startApi } from './running-api.ts';

const ALL = ['jobs:read', 'jobs:write', 'uploads:write'];

interface Document {
  readonly paths: Record<
    string,
    Record<string, { readonly description?: string; readonly security: unknown[] }>
  >;
}

/** What the specification says of these; others are taken at the document's word. */
function scopeOf(method: string, path: string): string | undefined {
  if (path.startsWith('/tokens')) return 'admin';
  if (path.startsWith('/tenants')) return method === 'get' && path !== '/tenants' ? 'jobs:read' : 'admin';
  if (path.startsWith('/uploads')) return 'uploads:write';
  if (path.startsWith('/jobs')) return method === 'get' ? 'jobs:read' : 'jobs:write';
  return ['/capacity', '/events'].includes(path) ? 'jobs:read' : undefined;
}

/** A token of its own for the test, and a caller that shows it. */
async function holder(admin: Caller, name: string, owner: string, scopes: string[] = ALL): Promise<Caller> {
  const { status, body } = await admin.json('POST', '/tokens', { name, owner, scopes });
  assert.equal(status, 201, JSON.stringify(body));
  return new Caller(admin.url, String(body['token']));
}

describe('tokens over HTTP', () => {
  let api: RunningApi;
  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  it('are made, listed and revoked by an admin, and shown once', async () => {
    const made = await api.caller.json('POST', '/tokens', {
      name: 'ci',
      owner: 'builds',
      scopes: ['uploads:write', 'jobs:write', 'jobs:write'],
      expires_at: '2999-01-01T00:00:00+01:00',
    });
    assert.equal(made.status, 201);
    assert.equal(made.headers.get('cache-control'), 'no-store');
    const { token, created_at, ...shown } = made.body;
    assert.match(String(token), /^fp_[\w-]{43}$/);
    assert.ok(Math.abs(Date.parse(String(created_at)) - Date.now()) < 10_000);
    assert.deepEqual(shown, {
      name: 'ci',
      owner: 'builds',
      scopes: ['jobs:write', 'uploads:write'],
      expires_at: '2998-12-31T23:00:00.000Z',
      expired: false,
    });
    const listed = await api.caller.json<{ tokens: Record<string, unknown>[] }>('GET', '/tokens');
    assert.deepEqual(listed.body, { tokens: [{ ...shown, created_at }] });
    const ci = new Caller(api.server.url, String(token));
    assert.equal((await ci.json('POST', '/uploads', {})).status, 201);
    assert.equal((await api.caller.fetch('/tokens/ci', { method: 'DELETE' })).status, 204);
    const { status, body } = await ci.json('POST', '/uploads', {});
    assert.deepEqual([status, body['error']], [401, 'invalid_token']);
    const again = await api.caller.json('DELETE', '/tokens/ci');
    assert.deepEqual([again.status, again.body['error']], [404, 'not_found']);
  });

  it('are refused with the name of the field that is wrong', async () => {
    const good = { name: 'x', owner: 'o', scopes: ALL };
    const wrong: [field: string, body: Record<string, unknown>][] = [
      ['name', { ...good, name: '' }],
      ['name', { ...good, name: 'a/b' }],
      ['name', { ...good, name: '..' }],
      ['name', { ...good, name: 'x'.repeat(64) }],
      ['owner', { ...good, owner: 'a b' }],
      ['owner', { ...good, owner: undefined }],
      ['scopes', { ...good, scopes: [] }],
      ['scopes.0', { ...good, scopes: ['root'] }],
      ['expires_at', { ...good, expires_at: 'tomorrow' }],
      ['expires_at', { ...good, expires_at: '2001-01-01T00:00:00Z' }],
      ['extra', { ...good, extra: 1 }],
    ];
    for (const [field, request] of wrong) {
      const { status, body } = await api.caller.json('POST', '/tokens', request);
      assert.equal(status, 400, JSON.stringify(request));
      assert.equal((body['details'] as { field?: string }).field, field);
    }
    await holder(api.caller, 'twice', 'o');
    const { status, body } = await api.caller.json('POST', '/tokens', { ...good, name: 'twice' });
    assert.deepEqual([status, (body['details'] as { field?: string }).field], [400, 'name']);
  });

  it('open each operation with exactly the scope that the document names', async () => {
    const document = (await (await fetch(`${api.server.url}/openapi.json`)).json()) as Document;
    let looked = 0;
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, { description, security }] of Object.entries(methods)) {
        const scope = /Scope: `([\w:]+)`/.exec(description ?? '')?.[1];
        assert.equal(security.length > 0, scope !== undefined, `${method} ${path}`);
        if (scope === undefined) continue;
        assert.equal(scope, scopeOf(method, path) ?? scope, `${method} ${path}`);
        looked += 1;
        const url = path.replace('{id}', 'job_aaaaaaaaaaaa').replace('{name}', 'absent');
        const ask = async (scopes: string[]): Promise<Response> => {
          const caller = await holder(api.caller, `scope-${looked}-${scopes.length}`, 'nobody', scopes);
          // Streams of events don't end by themselves.
          return caller.fetch(url, { method: method.toUpperCase(), signal: AbortSignal.timeout(10_000) });
        };
        const others = ALL.filter((other) => other !== scope);
        const refused = await ask(others);
        assert.equal(refused.status, 403, `${method} ${path} with ${others.join(' ')}`);
        const body = (await refused.json()) as { error: string; message: string; details: unknown };
        assert.equal(body.error, 'insufficient_scope');
        assert.deepEqual(body.details, { scope });
        assert.ok(body.message.includes(scope));
        const admitted = await ask([scope]);
        await admitted.body?.cancel();
        assert.ok(
          ![401, 403].includes(admitted.status),
          `${method} ${path} with ${scope}: ${admitted.status}`,
        );
      }
    }
    assert.ok(looked >= 15, `${looked} operations`);
  });

  it('see somebody else’s job and upload exactly as missing ones', async () => {
    const alice = await holder(api.caller, 'alice-1', 'alice');
    const bob = await holder(api.caller, 'bob-1', 'bob');
    const job = await alice.submit('true', { labels: { team: 'x' } });
    const upload = String((await alice.json('POST', '/uploads', {})).body['upload_id']);
    const [noJob, noUpload] = ['job_aaaaaaaaaaaa', 'upload_aaaaaaaaaaaa'];
    const document = (await (await fetch(`${api.server.url}/openapi.json`)).json()) as Document;
    const tar = { 'content-type': 'application/x-tar' };

    const seen = async (method: string, path: string, hidden: string, body?: string): Promise<unknown> => {
      const headers = path.endsWith('/files') ? tar : { 'content-type': 'application/json' };
      const answer = await bob.fetch(path, { method, headers, ...(body === undefined ? {} : { body }) });
      const { request_id: _, ...rest } = (await answer.json()) as Record<string, unknown>;
      const names = [...answer.headers.keys()].filter((name) => name !== 'date').sort();
      return { status: answer.status, names, body: JSON.stringify(rest).replaceAll(hidden, 'ID') };
    };
    let looked = 0;
    for (const [path, methods] of Object.entries(document.paths)) {
      const [own, missing] = path.startsWith('/uploads/') ? [upload, noUpload] : [job, noJob];
      if (!path.includes('{id}')) continue;
      for (const method of Object.keys(methods).map((name) => name.toUpperCase())) {
        looked += 1;
        const at = (id: string): string => path.replace('{id}', id).replace('{name}', 'a');
        const body = method === 'PUT' ? 'x'.repeat(1_024) : method === 'POST' ? '{}' : undefined;
        const hidden = await seen(method, at(own), own, body);
        assert.deepEqual(hidden, await seen(method, at(missing), missing, body), `${method} ${path}`);
        assert.equal((hidden as { status: number }).status, 404, `${method} ${path}`);
      }
    }
    assert.ok(looked >= 8, `${looked} operations`);
    for (const own of [upload, noUpload]) {
      const body = JSON.stringify({ type: 'worker', command: 'true', files_id: own });
      const refused = (await seen('POST', '/jobs', own, body)) as { status: number; body: string };
      assert.equal(refused.status, 404);
      assert.match(refused.body, /"error":"upload_not_found".*"files_id":"ID"/);
    }

    assert.deepEqual((await bob.json('GET', '/jobs')).body, { jobs: [], total: 0, next_cursor: null });
    assert.deepEqual((await bob.json('DELETE', '/jobs?label=team:x')).body, { cancelled: [] });
    assert.ok(!(await (await bob.fetch('/capacity')).text()).includes('alice'));
    assert.equal((await alice.job(job)).status, 'queued');
  });

  it('of one owner share what it has, and admins see everybody’s', async () => {
    const first = await holder(api.caller, 'carol-1', 'carol');
    const second = await holder(api.caller, 'carol-2', 'carol');
    const root = await holder(api.caller, 'root', 'ops', ['admin']);
    const job = await first.submit('true');
    for (const caller of [second, root, api.caller])
      assert.equal((await caller.fetch(`/jobs/${job}`)).status, 200);
    assert.equal((await second.json('GET', '/jobs')).body['total'], 1);
    assert.equal((await root.fetch(`/jobs/${job}`, { method: 'DELETE' })).status, 200);
    const own = await root.submit('true');
    assert.equal((await second.fetch(`/jobs/${own}`)).status, 404);
  });

  it('of two owners may use the same client_job_id', async () => {
    const client_job_id = crypto.randomUUID();
    const ids = new Set<string>();
    for (const owner of ['dave', 'erin'])
      ids.add(await (await holder(api.caller, owner, owner)).submit(`echo ${owner}`, { client_job_id }));
    assert.equal(ids.size, 2);
  });

  it('that are revoked end what waits with them', async () => {
    const waiting = await holder(api.caller, 'waiting', 'frank');
    const job = await waiting.submit('true');
    const began = performance.now();
    const poll = waiting.fetch(`/jobs/${job}?wait=60`);
    const streams = await Promise.all(['/events', `/jobs/${job}/events`].map((path) => waiting.fetch(path)));
    await eventually(
      'the token is known to be good',
      async () => (await waiting.fetch('/capacity')).status === 200,
    );
    await api.caller.fetch('/tokens/waiting', { method: 'DELETE' });
    await poll;
    // Ended in order or cut off: either way nothing comes any more.
    await Promise.all(streams.map((stream) => stream.text().catch(() => '')));
    assert.ok(performance.now() - began < 3_000);
  });
});

describe('tokens and sessions of two API processes', () => {
  let apis: ApiProcesses;
  before(async () => {
    apis = await startTwoApis();
  });
  after(() => apis.stop());

  it('are good at both at once, and revoked at both', async () => {
    const [here, there] = apis.callers;
    const made = await holder(here, 'ci', 'builds');
    const elsewhere = new Caller(there.url, made.token);
    const open = async (): Promise<boolean> => (await elsewhere.fetch('/jobs')).status === 200;
    assert.equal(await open(), true);
    let stop = false;
    const busy = (async () => {
      while (!stop) await open(); // so that the other process believes in it up to the last moment
    })();
    try {
      assert.equal((await here.fetch('/tokens/ci', { method: 'DELETE' })).status, 204);
      assert.equal((await made.fetch('/jobs')).status, 401);
      await eventually('it is closed there too', async () => !(await open()));
    } finally {
      stop = true;
      await busy;
    }
    const output = await apis.output();
    assert.match(output, /a token was made/);
    assert.ok(!output.includes(made.token.slice(3)));
  });

  it('open the board at both with one cookie, until it is given up at either', async () => {
    const [here, there] = apis.callers;
    const host = new URL(here.url).host;
    const signIn = await fetch(`${here.url}/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token: here.token }),
    });
    const cookie = (signIn.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
    // Behind one name, as a proxy would have it.
    const { request } = await import('node:http');
    const board = (url: string, method = 'GET', path = '/queues'): Promise<number> =>
      new Promise((resolve, reject) => {
        request(`${url}${path}`, { method, headers: { cookie, host } }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        })
          .on('error', reject)
          .end();
      });
    assert.equal(await board(here.url), 200);
    assert.equal(await board(there.url), 200);
    assert.equal(await board(there.url, 'DELETE', '/session'), 204);
    assert.equal(await board(there.url), 401);
    assert.equal(await board(here.url), 401);
  });
});
