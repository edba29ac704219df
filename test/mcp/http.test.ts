import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernTransport,
} from '@modelcontextprotocol/client';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { requireKnownHost } from '../../api/routes/mcp/hosts.ts';
import { toolsCapability } from '../../src/mcp/capabilities/tools.ts';
import type { ServerDefinition } from '../../src/mcp/server.ts';
import { EventBudget, RecentEvents } from '../../src/mcp/event-store.ts';
import { HttpSessions, SESSION_LIMITS } from '../../src/mcp/http-sessions.ts';
import { raw } from '../api/raw-http.ts';
import { type RunningApi, startApi } from '../api/running-api.ts';
import { eventually } from '../support/eventually.ts';
import { Caller } from '../support/http.ts';
import { suiteServer } from './fixtures/suite.ts';
import { startMcpApi } from './mcp-api.ts';

const HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
};
const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};
const LIST = { jsonrpc: '2.0', id: 2, method: 'tools/list' };

async function connect(url: string, token: string): Promise<[Client, StreamableHTTPClientTransport]> {
  const transport = new StreamableHTTPClientTransport(new URL(`${url}/mcp`), {
    requestInit: { headers: { authorization: `Bearer ${token}` } },
  });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(transport);
  return [client, transport];
}

describe('MCP over HTTP', () => {
  let api: RunningApi;
  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  const post = (
    body: unknown,
    headers: Record<string, string> = {},
    caller: Caller = api.caller,
  ): Promise<Response> =>
    caller.fetch('/mcp', {
      method: 'POST',
      headers: { ...HEADERS, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  const begin = async (caller?: Caller): Promise<string> => {
    const response = await post(INITIALIZE, {}, caller);
    await response.text();
    return response.headers.get('mcp-session-id') ?? assert.fail(String(response.status));
  };
  const otherOwner = async (name: string): Promise<Caller> => {
    const { body } = await api.caller.json('POST', '/tokens', {
      name,
      owner: name,
      scopes: ['jobs:read', 'jobs:write'],
    });
    return new Caller(api.caller.url, String(body['token']));
  };

  it('offers every tool, without what needs a local disk, and says so', async () => {
    const [client] = await connect(api.caller.url, api.token);
    const { tools } = await client.listTools();
    await client.close();
    assert.deepEqual(tools.map(({ name }) => name).sort(), [
      'download_artifact',
      'get_job_artifacts',
      'get_job_output',
      'get_job_status',
      'kill_job',
      'list_images',
      'list_jobs',
      'rerun_job',
      'run_command',
      'spawn_sub_agent',
      'spawn_worker',
      'wait_for_job',
    ]);
    const text = JSON.stringify(tools.map(({ inputSchema }) => inputSchema));
    assert.doesNotMatch(text, /local_path|save_to/);
    for (const name of ['run_command', 'spawn_worker', 'spawn_sub_agent', 'download_artifact']) {
      const description = tools.find((each) => each.name === name)?.description ?? '';
      assert.match(description, /Over this connection no(?:thing| local files) can be/, name);
    }
  });

  it('makes, shows and ends jobs for the owner of the token, and for nobody else', async () => {
    const [client] = await connect(api.caller.url, api.token);
    const made = await client.callTool({ name: 'spawn_worker', arguments: { command: 'true' } });
    const { job_id: id, status } = made.structuredContent as { job_id: string; status: string };
    assert.equal((await api.caller.job(id)).status, status);
    const other = await otherOwner('somebody');
    const [stranger] = await connect(other.url, other.token);
    const refused = await stranger.callTool({ name: 'get_job_status', arguments: { job_id: id } });
    assert.equal(refused.isError, true);
    assert.match(JSON.stringify(refused.content), /job_not_found.*What to do: Call list_jobs/);
    const ended = await client.callTool({ name: 'kill_job', arguments: { job_id: id } });
    assert.notEqual(ended.isError, true, JSON.stringify(ended.content));
    await Promise.all([client.close(), stranger.close()]);
  });

  it('needs a token, and the scope that the API needs', async () => {
    const nobody = await post(INITIALIZE, { authorization: 'Bearer wrong-token-wrong-token' });
    assert.equal(nobody.status, 401);
    const { body } = await api.caller.json('POST', '/tokens', {
      name: 'reader',
      owner: 'default',
      scopes: ['jobs:read'],
    });
    const [client] = await connect(api.caller.url, String(body['token']));
    const refused = await client.callTool({ name: 'spawn_worker', arguments: { command: 'true' } });
    assert.match(JSON.stringify(refused.content), /insufficient_scope.*jobs:write/);
    await client.close();
  });

  it('answers for the session of another token as for one that does not exist', async () => {
    const id = await begin();
    const other = await otherOwner('elsewhere');
    const answers = await Promise.all([
      post(LIST, { 'mcp-session-id': id }, other),
      post(LIST, { 'mcp-session-id': 'a9b6ff26-5d6f-4b4f-9d0f-8a6f6d3c2b1a' }, other),
    ]);
    const [taken, absent] = await Promise.all(
      answers.map(async (answer) => [answer.status, (await answer.text()).replace(/^id: .*$/gm, 'id')]),
    );
    assert.deepEqual(taken, absent);
    assert.equal(taken?.[0], 200);
    assert.equal((await post(LIST, { 'mcp-session-id': id })).status, 200);
  });

  it('costs one request of the rate for each request, no matter what its tool asks for', async () => {
    const slow = await startApi({ rate: { perSecond: 0.001, burst: 50 } });
    const id = await begin(slow.caller);
    const left = async (): Promise<number> => {
      const call = { name: 'run_command', arguments: { command: 'true', wait_seconds: 1 } };
      const request = { jsonrpc: '2.0', id: 7, method: 'tools/call', params: call };
      const answer = await post(request, { 'mcp-session-id': id }, slow.caller);
      assert.match(await answer.text(), /poll_timeout/);
      return Number(answer.headers.get('x-ratelimit-remaining'));
    };
    const first = await left();
    assert.equal(await left(), first - 1);
    await slow.stop();
  });

  it('ends a session on DELETE, says so with the id of the request, and begins another with the old id', async () => {
    const id = await begin();
    const gone = await api.caller.fetch('/mcp', { method: 'DELETE', headers: { 'mcp-session-id': id } });
    assert.equal(gone.status, 200);
    const refused = await post(LIST, { 'mcp-session-id': id });
    assert.equal(refused.status, 404);
    assert.equal(((await refused.json()) as { id: unknown }).id, LIST.id);
    const again = await post(INITIALIZE, { 'mcp-session-id': id });
    await again.text();
    assert.equal(again.status, 200);
    assert.notEqual(again.headers.get('mcp-session-id'), id);
  });

  it('goes on with a client whose session the API does not know, as after a restart', async () => {
    const transport = new StreamableHTTPClientTransport(new URL(`${api.caller.url}/mcp`), {
      requestInit: { headers: { authorization: `Bearer ${api.token}` } },
      sessionId: randomUUID(),
    });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(transport);
    const called = await client.callTool({ name: 'list_jobs', arguments: {} });
    assert.notEqual(called.isError, true, JSON.stringify(called.content));
    const [first, second] = await Promise.all([client.listTools(), client.listTools()]);
    assert.deepEqual(first, second);
    await client.close();
  });

  it('serves clients of the version without sessions, for the owner of the token', async () => {
    const transport = new ModernTransport(new URL(`${api.caller.url}/mcp`), {
      requestInit: { headers: { authorization: `Bearer ${api.token}` } },
    });
    const client = new ModernClient(
      { name: 'test', version: '1' },
      { versionNegotiation: { mode: { pin: '2026-07-28' } } },
    );
    await client.connect(transport);
    assert.match(client.getInstructions() ?? '', /run_command/);
    const { tools } = await client.listTools();
    assert.ok(tools.some(({ name }) => name === 'run_command'));
    const made = await client.callTool({ name: 'spawn_worker', arguments: { command: 'true', cpus: '1' } });
    const { job_id: id } = made.structuredContent as { job_id: string };
    assert.equal((await api.caller.job(id)).id, id);
    const { contents } = await client.readResource({ uri: 'flashpods://jobs' });
    assert.match(JSON.stringify(contents), new RegExp(id));
    const absent = await client.callTool({
      name: 'get_job_status',
      arguments: { job_id: 'job_xxxxxxxxxxxx' },
    });
    assert.equal(absent.isError, true);
    await client.close();
  });

  it('tells those who look for an authorization server that there is none, also without a token', async () => {
    for (const [method, path] of [
      ['GET', '/.well-known/oauth-protected-resource'],
      ['GET', '/.well-known/oauth-protected-resource/mcp'],
      ['GET', '/.well-known/oauth-authorization-server/mcp/x'],
      ['GET', '/mcp/.well-known/openid-configuration'],
      ['POST', '/register'],
      ['GET', '/authorize?client_id=x'],
      ['POST', '/token'],
    ] as const) {
      const answer = await fetch(`${api.caller.url}${path}`, { method });
      assert.equal(answer.status, 404, path);
      assert.equal(((await answer.json()) as { error: string }).error, 'not_found', path);
    }
    assert.equal((await fetch(`${api.caller.url}/mcp`, { method: 'POST' })).status, 401);
    // What a job left may be a website.
    const site = await api.caller.json(
      'GET',
      '/jobs/job_xxxxxxxxxxxx/artifacts/site/.well-known/security.txt',
    );
    assert.equal(site.body['error'], 'job_not_found');
  });

  it('refuses hosts and origins that are not its own', async () => {
    const { port } = api;
    const ask = async (headers: string): Promise<number> => {
      const body = JSON.stringify(INITIALIZE);
      const { status } = await raw(
        port,
        `POST /mcp HTTP/1.1\r\n${headers}Authorization: Bearer ${api.token}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
      return status;
    };
    assert.equal(await ask(`Host: evil.example\r\n`), 403);
    assert.equal(await ask(`Host: localhost:${port}\r\nOrigin: http://evil.example\r\n`), 403);
    assert.equal(await ask(`Host: localhost:${port}\r\nOrigin: null\r\n`), 403);
    assert.equal(await ask(`Host: localhost:${port}\r\nOrigin: http://localhost:${port}\r\n`), 200);
    assert.equal(await ask(`Host: 127.0.0.1:${port}\r\n`), 200);
  });

  it('takes the names that the configuration lists, addresses, and no name that only looks like one', () => {
    const known = (host: string): boolean => {
      try {
        requireKnownHost({ host, origin: '' }, ['farm.example', '']);
        return true;
      } catch {
        return false;
      }
    };
    for (const host of [
      'farm.example',
      'FARM.example:8080',
      '10.0.0.1:8080',
      '[::1]:80',
      '[fd00::1]',
      'a.localhost',
    ]) {
      assert.equal(known(host), true, host);
    }
    for (const host of [
      '',
      'example',
      'farm.example.evil',
      '127.0.0.1.evil.example',
      'localhost.evil',
      'a@localhost',
      'localhost/x',
    ]) {
      assert.equal(known(host), false, host);
    }
  });

  it('refuses what is no JSON, no initialization, too large, or of another method', async () => {
    assert.equal((await post('{')).status, 400);
    assert.equal((await post(LIST)).status, 400);
    assert.equal((await post([])).status, 400);
    assert.equal((await post({ ...INITIALIZE, more: 'x'.repeat(1_100_000) })).status, 413);
    assert.equal((await api.caller.fetch('/mcp', { method: 'PUT' })).status, 405);
    assert.equal((await api.caller.fetch('/mcp')).status, 400);
  });

  it('ends streams of a token that is revoked', async () => {
    const { body } = await api.caller.json('POST', '/tokens', {
      name: 'short-lived',
      owner: 'default',
      scopes: ['jobs:read'],
    });
    const caller = new Caller(api.caller.url, String(body['token']));
    const id = await begin(caller);
    const stream = await caller.fetch('/mcp', {
      headers: { accept: 'text/event-stream', 'mcp-session-id': id },
    });
    assert.equal(stream.status, 200);
    await api.caller.fetch('/tokens/short-lived', { method: 'DELETE' });
    await stream.text().catch(() => ''); // resolves or breaks off: it does not go on
    assert.equal((await post(LIST, { 'mcp-session-id': id }, caller)).status, 401);
  });
});

describe('a call without a session', () => {
  /** Its one tool waits until nobody waits for it. */
  async function waiting(): Promise<{
    readonly api: Awaited<ReturnType<typeof startMcpApi>>;
    readonly client: ModernClient;
    readonly called: Promise<unknown>;
    readonly aborted: () => boolean;
  }> {
    const begun = Promise.withResolvers<AbortSignal>();
    const tool = {
      name: 'wait',
      description: 'waits',
      input: z.object({}),
      call: async (_args: object, { signal }: { signal: AbortSignal }): Promise<never> => {
        begun.resolve(signal);
        return new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true }),
        );
      },
    };
    const toolError = () => ({ content: [], isError: true });
    const api = await startMcpApi(() => ({ capabilities: [toolsCapability([tool], toolError)] }));
    const client = new ModernClient(
      { name: 'test', version: '1' },
      { versionNegotiation: { mode: { pin: '2026-07-28' } } },
    );
    await client.connect(new ModernTransport(new URL(`${api.url}/mcp`)));
    const called = client.callTool({ name: 'wait', arguments: {} }).catch((error: unknown) => error);
    const signal = await begun.promise;
    return { api, client, called, aborted: () => signal.aborted };
  }

  it('ends when its client goes', async () => {
    const { api, client, aborted } = await waiting();
    await client.close();
    await eventually('the tool hears of it', aborted);
    await api.stop();
  });

  it('ends when the server stops, and says so', async () => {
    const { api, client, called, aborted } = await waiting();
    await Promise.all([api.stop(), eventually('the tool hears of it', aborted)]);
    assert.match(String(await called), /stopping/);
    await client.close();
  });
});

describe('streams of MCP over HTTP', () => {
  it('give a client that lost its stream the answer when it comes back', async () => {
    const api = await startMcpApi(suiteServer);
    const [client] = await connect(api.url, 'any');
    const result = await client.callTool({ name: 'test_reconnection', arguments: {} });
    assert.match(JSON.stringify(result.content), /completed successfully/);
    await client.close();
    await api.stop();
  });

  it('end when the server stops', async () => {
    let closed = 0;
    const close = (): number => (closed += 1);
    const api = await startMcpApi(() => ({ ...suiteServer(), close }));
    const [client] = await connect(api.url, 'any');
    const began = performance.now();
    await api.stop();
    assert.ok(performance.now() - began < 5_000);
    assert.equal(closed, 1);
    await client.close();
  });
});

describe('messages kept for streams that broke off', () => {
  const message = (text: string) => ({ jsonrpc: '2.0' as const, method: 'x', params: { text } });
  async function replayed(events: RecentEvents): Promise<unknown[]> {
    const texts: unknown[] = [];
    await events.replayEventsAfter('0_stream', {
      send: async (_id, sent) => void texts.push('params' in sent ? sent.params?.['text'] : sent),
    });
    return texts;
  }

  it('share one budget: the oldest of the session that holds most go first', async () => {
    const budget = new EventBudget(100_000);
    const [large, small] = [new RecentEvents(budget), new RecentEvents(budget)];
    for (const each of ['1', '2', '3']) await large.storeEvent('stream', message(each.repeat(30_000)));
    for (const each of ['a', 'b', 'ü']) await small.storeEvent('stream', message(each.repeat(10_000)));
    assert.ok(budget.bytes <= 100_000, String(budget.bytes));
    assert.deepEqual(await replayed(large), ['3'.repeat(30_000)]);
    assert.deepEqual(
      await replayed(small),
      ['a', 'b', 'ü'].map((each) => each.repeat(10_000)),
    );
  });

  it('go with their session', async () => {
    const budget = new EventBudget(100_000);
    const events = new RecentEvents(budget);
    await events.storeEvent('stream', message('x'));
    assert.ok(budget.bytes > 0);
    events.close();
    await events.storeEvent('stream', message('x'));
    assert.equal(budget.bytes, 0);
    assert.deepEqual(await replayed(events), []);
  });
});

describe('sessions of MCP over HTTP', () => {
  const INFINITE = { ...SESSION_LIMITS, idleMs: 1e9, lifetimeMs: 1e9 };
  let ended = 0;
  const definition = (): ServerDefinition => ({
    capabilities: [
      toolsCapability(
        [
          {
            name: 'nothing',
            description: 'does nothing',
            input: z.object({}),
            call: async () => ({ content: [] }),
          },
        ],
        () => ({ content: [], isError: true }),
      ),
    ],
    close: () => {
      ended += 1;
    },
  });
  const request = (headers: Record<string, string> = {}): Request =>
    new Request('http://localhost/mcp', { method: 'POST', headers: { ...HEADERS, ...headers } });
  async function begin(sessions: HttpSessions, holder: string): Promise<string> {
    const response = await sessions.handle(request(), {
      holder,
      body: INITIALIZE,
      define: async () => definition(),
    });
    await response.text();
    return response.headers.get('mcp-session-id') ?? assert.fail();
  }
  /** Whether a session is as good as new. */
  async function answers(sessions: HttpSessions, holder: string, id: string): Promise<boolean> {
    const asked = request({ 'mcp-session-id': id });
    const response = await sessions.handle(asked, { holder, body: LIST, define: async () => definition() });
    return response.status === 200 && (await response.text()).includes('"nothing"');
  }

  it('are bounded for each token: the one used least recently ends', async () => {
    ended = 0;
    const sessions = new HttpSessions({ ...INFINITE, sessionsPerHolder: 2 });
    const first = await begin(sessions, 'a');
    const second = await begin(sessions, 'a');
    const other = await begin(sessions, 'b');
    assert.equal(await answers(sessions, 'a', first), true);
    const third = await begin(sessions, 'a');
    assert.deepEqual([sessions.size, ended], [3, 1]);
    for (const id of [first, third]) assert.equal(await answers(sessions, 'a', id), true);
    assert.equal(await answers(sessions, 'b', other), true);
    assert.equal(ended, 1);
    assert.equal(await answers(sessions, 'a', second), true);
    assert.deepEqual([sessions.size, ended], [3, 2]);
    await sessions.close();
    assert.equal(ended, 5);
    assert.equal(sessions.size, 0);
  });

  it('hold one budget of messages together, and leave nothing of it behind', async () => {
    const sessions = new HttpSessions({ ...INFINITE, eventBytes: 2_000 });
    for (const holder of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) await begin(sessions, holder);
    assert.ok(sessions.eventBytes > 1_000 && sessions.eventBytes <= 2_000, String(sessions.eventBytes));
    await sessions.close();
    assert.equal(sessions.eventBytes, 0);
  });

  it('are bounded in all', async () => {
    const sessions = new HttpSessions({ ...INFINITE, sessions: 3 });
    for (const holder of ['a', 'b', 'c', 'd', 'e']) await begin(sessions, holder);
    assert.equal(sessions.size, 3);
    await sessions.close();
  });

  it('end when nobody used them for long, and after their lifetime', async () => {
    for (const limits of [{ idleMs: 20 }, { lifetimeMs: 20 }]) {
      const sessions = new HttpSessions({ ...INFINITE, ...limits });
      const id = await begin(sessions, 'a');
      await eventually('the session has ended', async () => {
        await sessions.handle(request({ 'mcp-session-id': 'another' }), {
          holder: 'a',
          define: async () => definition(),
        });
        return sessions.size === 0;
      });
      assert.equal(await answers(sessions, 'a', id), true);
      await sessions.close();
    }
  });

  it('of a stream that broke off are not taken up: its answer is lost', async () => {
    const sessions = new HttpSessions();
    const asked = new Request('http://localhost/mcp', {
      headers: { accept: 'text/event-stream', 'mcp-session-id': randomUUID(), 'last-event-id': '3_stream' },
    });
    const response = await sessions.handle(asked, { holder: 'a', define: async () => definition() });
    assert.equal(response.status, 404);
    assert.equal(sessions.size, 0);
    await sessions.close();
  });

  it('are refused once the server stops', async () => {
    const sessions = new HttpSessions();
    await sessions.close();
    const response = await sessions.handle(request(), {
      holder: 'a',
      body: INITIALIZE,
      define: async () => definition(),
    });
    assert.equal(response.status, 503);
  });
});
