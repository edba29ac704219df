import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, it } from 'mocha';
import { startApiServer } from '../../api/server.ts';
import type { createApp } from '../../api/app.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { type ApiOptions, type RunningApi, startApi } from './running-api.ts';

describe('the API server', () => {
  const withApi = async (options: ApiOptions, test: (api: RunningApi) => Promise<void>): Promise<void> => {
    const api = await startApi(options);
    try {
      await test(api);
    } finally {
      await api.stop();
    }
  };
  const open = (api: RunningApi): Promise<ReturnType<typeof connect>> =>
    new Promise((resolve) => {
      const socket = connect(api.port, '127.0.0.1', () => resolve(socket));
      socket.on('error', () => undefined);
    });

  it('stops at once although connections are kept open', () =>
    withApi({ stopTimeoutMs: 20_000 }, async (api) => {
      const idle = await open(api);
      await api.caller.json('GET', '/jobs');
      const begun = performance.now();
      await api.server.stop();
      assert.ok(performance.now() - begun < 2_000, `${performance.now() - begun} ms`);
      await assert.rejects(api.caller.json('GET', '/health'));
      idle.destroy();
    }));

  it('answers requests that wait for a job when it stops', () =>
    withApi({ stopTimeoutMs: 20_000 }, async (api) => {
      const id = await api.caller.submit('true');
      const waiting = api.caller.json('GET', `/jobs/${id}?wait=60`);
      const { connection, keys } = api.queues;
      await eventually(
        'somebody waits',
        async () => Number((await connection.pubsub('NUMSUB', keys.lookChannel))[1]) > 0,
      );
      const begun = performance.now();
      await api.server.stop();
      assert.ok(performance.now() - begun < 2_000, `${performance.now() - begun} ms`);
      const { status, body } = await waiting;
      assert.equal(status, 200);
      assert.equal(body['status'], 'queued');
    }));

  it('cuts requests that do not end in time', () =>
    withApi({ stopTimeoutMs: 300 }, async (api) => {
      const socket = await open(api);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.write(`POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\n`);
      const served = new Promise((resolve) => socket.once('data', resolve));
      socket.write('Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n');
      assert.match(String(await served), /^HTTP\/1\.1 100 /);
      const begun = performance.now();
      await Promise.all([api.server.stop(), api.server.stop()]);
      const took = performance.now() - begun;
      assert.ok(took >= 290 && took < 3_000, `${took} ms`);
      await closed;
    }));

  it('serves others while a client sends its body a byte at a time', () =>
    withApi({}, async (api) => {
      const slow = await Promise.all(Array.from({ length: 50 }, () => open(api)));
      for (const socket of slow) {
        socket.write(`POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\n`);
        socket.write('Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{');
      }
      const begun = performance.now();
      assert.equal((await api.caller.json('GET', '/jobs')).status, 200);
      assert.ok(performance.now() - begun < 1_000);
      for (const socket of slow) socket.destroy();
    }));

  it('says which address it could not have', () =>
    withApi({}, async (api) => {
      const listenAddr = `127.0.0.1:${api.port}`;
      const app = { callback: () => () => undefined } as unknown as ReturnType<typeof createApp>;
      await assert.rejects(startApiServer({ app, listenAddr, logger: silent }), {
        message: `can't listen on ${listenAddr} (EADDRINUSE)`,
      });
    }));

  it('listens on IPv6 too, if the machine has it', async () => {
    const app = { callback: () => () => undefined, emit: () => true } as unknown as ReturnType<
      typeof createApp
    >;
    const server = await startApiServer({ app, listenAddr: '[::1]:0', logger: silent }).catch(() => null);
    if (!server) return;
    assert.match(server.url, /^http:\/\/\[::1\]:\d+$/);
    await server.stop();
  });
});
