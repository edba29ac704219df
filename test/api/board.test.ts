import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import type { Principal, TokenVerifier } from '../../src/identity/principal.ts';
import { type RunningApi, startApi } from './running-api.ts';

describe('the board', () => {
  let api: RunningApi;
  let revoked = false;

  before(async () => {
    api = await startApi({
      tokens: (own): TokenVerifier => ({
        find: (digest): Promise<Principal | null> => (revoked ? Promise.resolve(null) : own.find(digest)),
      }),
    });
  });
  after(() => api.stop());

  const signIn = async (headers: Record<string, string> = {}): Promise<string> => {
    const answer = await fetch(`${api.server.url}/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ token: api.token }),
    });
    assert.equal(answer.status, 204);
    const cookie = answer.headers.get('set-cookie') ?? '';
    assert.match(cookie, /^flashpods_session=[\w-]{43};/);
    assert.match(cookie, /; *httponly/i);
    assert.match(cookie, /; *samesite=strict/i);
    return cookie.split(';')[0] ?? '';
  };
  const withCookie = (cookie: string, path: string, headers: Record<string, string> = {}, method = 'GET') =>
    fetch(`${api.server.url}${path}`, { method, headers: { cookie, ...headers } });

  it('shows every waiting job to a bearer token', async () => {
    const id = await api.caller.submit('echo visible-command');
    const page = await api.caller.fetch('/queues');
    assert.equal(page.status, 200);
    assert.match(await page.text(), /<base href="\/queues\/"/);
    const { status, body } = await api.caller.json<{
      queues: { name: string; readOnlyMode: boolean; jobs: { id: string }[] }[];
    }>('GET', '/queues/api/queues?activeQueue=intake');
    assert.equal(status, 200);
    const [intake] = body.queues;
    assert.equal(intake?.name, 'intake');
    assert.equal(intake.readOnlyMode, true);
    assert.ok(intake.jobs.some((job) => job.id === id));
    assert.ok(!JSON.stringify(body).includes('visible-command'));
  });

  it('does nothing but show', async () => {
    const id = await api.caller.submit('true');
    for (const [method, path] of [
      ['PUT', `/queues/api/queues/intake/${id}/retry`],
      ['PUT', `/queues/api/queues/intake/${id}/clean`],
      ['PUT', `/queues/api/queues/intake/${id}/promote`],
      ['PATCH', `/queues/api/queues/intake/${id}/update-data`],
      ['POST', '/queues/api/queues/intake/add'],
      ['PUT', '/queues/api/queues/intake/retry/failed'],
      ['PUT', '/queues/api/queues/intake/obliterate'],
      ['PUT', '/queues/api/queues/intake/empty'],
      ['PUT', '/queues/api/queues/pause'],
      ['POST', `/queues/api/queues/intake/${id}/retry`],
      ['DELETE', '/queues'],
    ] as const) {
      const { status, body } = await api.caller.json(method, path, {});
      assert.equal(status, 405, `${method} ${path}`);
      assert.equal(body['error'], 'method_not_allowed');
    }
    assert.ok(await api.queues.queues.intake.getJob(id));
    assert.equal(await api.queues.queues.intake.isPaused(), false);
  });

  it('gives a browser a page to sign in with, and a program the ordinary 401', async () => {
    const browser = await fetch(`${api.server.url}/queues`, { headers: { accept: 'text/html,*/*' } });
    assert.equal(browser.status, 401);
    assert.match(browser.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(browser.headers.get('content-security-policy') ?? '', /script-src 'sha256-/);
    assert.match(await browser.text(), /type="password"/);
    const program = await fetch(`${api.server.url}/queues`);
    assert.equal(program.status, 401);
    assert.equal(((await program.json()) as { error: string }).error, 'missing_authorization');
  });

  it('gives a cookie that goes by https alone to a page that came so', async () => {
    const cookieFor = async (scheme: string): Promise<string> => {
      const answer = await fetch(`${api.server.url}/session`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          origin: `${scheme}://${new URL(api.server.url).host}`,
        },
        body: JSON.stringify({ token: api.token }),
      });
      assert.equal(answer.status, 204);
      return answer.headers.get('set-cookie') ?? '';
    };
    assert.match(await cookieFor('https'), /; *secure/i);
    assert.doesNotMatch(await cookieFor('http'), /; *secure/i);
  });

  it('opens for the cookie of a session, which opens nothing else', async () => {
    const cookie = await signIn();
    assert.equal((await withCookie(cookie, '/queues')).status, 200);
    assert.equal((await withCookie(cookie, '/queues/api/queues')).status, 200);
    for (const path of ['/jobs', '/capacity', '/queuesx'])
      assert.equal((await withCookie(cookie, path)).status, 401, path);
    assert.equal((await withCookie(cookie, '/queues/api/queues/pause', {}, 'PUT')).status, 405);
    assert.equal((await withCookie('flashpods_session=x', '/queues')).status, 401);
  });

  it('refuses a cookie that another page sends, or under another host name', async () => {
    const cookie = await signIn();
    const foreign: Record<string, string>[] = [
      { origin: 'http://evil.example' },
      { origin: 'http://127.0.0.1:1' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ];
    for (const headers of foreign) {
      assert.equal((await withCookie(cookie, '/queues', headers)).status, 403, JSON.stringify(headers));
    }
    assert.equal((await withCookie(cookie, '/queues', { origin: api.server.url })).status, 200);
    assert.equal((await withCookie(cookie, '/queues', { 'sec-fetch-site': 'same-origin' })).status, 200);
    const renamed = await fetch(`http://localhost:${api.port}/queues`, { headers: { cookie } });
    assert.equal(renamed.status, 403);
  });

  it('closes when the session or its token ends', async () => {
    const cookie = await signIn();
    const out = await withCookie(cookie, '/session', {}, 'DELETE');
    assert.equal(out.status, 204);
    assert.equal((await withCookie(cookie, '/queues')).status, 401);

    const other = await signIn();
    revoked = true;
    try {
      assert.equal((await withCookie(other, '/queues')).status, 401);
    } finally {
      revoked = false;
    }
  });

  it('lets nobody in with a wrong token or from another page', async () => {
    const attempt = (token: unknown, headers: Record<string, string> = {}) =>
      fetch(`${api.server.url}/session`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ token }),
      });
    assert.equal((await attempt('wrong')).status, 401);
    assert.equal((await attempt(5)).status, 400);
    assert.equal((await attempt(api.token, { origin: 'http://evil.example' })).status, 403);
  });
});
