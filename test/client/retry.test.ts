import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'mocha';
import { FlashpodsClient } from '../../src/client/client.ts';
import { ClientError } from '../../src/client/client-error.ts';
import { DEFAULT_RETRY } from '../../src/client/connection.ts';
import { parseRetryAfter, Retries } from '../../src/client/retry.ts';
import { connectionTo, failure, json, type Script, WireServer } from './wire-server.ts';

describe('retries of the client', () => {
  let server: WireServer;
  let client: FlashpodsClient;

  async function serve(script: Script): Promise<void> {
    server = await new WireServer(script).start();
    client = new FlashpodsClient(connectionTo(server.url));
  }

  afterEach(async () => {
    client.close();
    await server.stop();
  });

  const created = { job_id: 'job_aaaaaaaaaaaa', status: 'queued', created: true };
  const request = { type: 'worker', command: 'true' } as const;
  const creations = (): unknown[] =>
    server.seen.map(({ body }) => (JSON.parse(body) as { client_job_id?: string }).client_job_id);

  for (const [status, code, requests] of [
    [429, 'rate_limited', 5],
    [503, 'service_unavailable', 5],
    [500, 'internal_error', 3],
    [502, 'internal_error', 3],
    [507, 'insufficient_storage', 1],
    [400, 'invalid_image', 1],
    [401, 'invalid_token', 1],
    [404, 'job_not_found', 1],
    [409, 'job_already_terminal', 1],
  ] as const) {
    it(`sends a request that is always answered with ${status} ${requests} times`, async () => {
      await serve((_seen, response) => json(response, status, failure(code)));
      await assert.rejects(client.createJob(request), (error: unknown) => {
        assert.ok(error instanceof ClientError);
        assert.deepEqual([error.code, error.status, error.requestId], [code, status, 'req-1']);
        assert.notEqual(error.advice, '');
        return true;
      });
      assert.equal(server.seen.length, requests);
    });
  }

  it('sends a creation again under the same client_job_id, no matter what broke', async () => {
    await serve((_seen, response, nth) => {
      if (nth === 1) response.destroy();
      else if (nth === 2) json(response, 503, failure('service_unavailable'));
      else if (nth === 3) json(response, 500, failure('internal_error'));
      else if (nth === 4)
        response.writeHead(201, { 'content-length': '50' }).write('{"job_id"', () => response.destroy());
      else json(response, 201, created);
    });
    assert.equal((await client.createJob(request)).job_id, created.job_id);
    const ids = creations();
    assert.equal(ids.length, 5);
    assert.equal(new Set(ids).size, 1);
    assert.match(String(ids[0]), /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  });

  it('gives another creation another client_job_id', async () => {
    await serve((_seen, response) => json(response, 201, created));
    await client.createJob(request);
    await client.createJob(request);
    assert.equal(new Set(creations()).size, 2);
  });

  it('sends a request four times when the connection is always dropped', async () => {
    await serve((_seen, response) => response.destroy());
    await assert.rejects(client.getJob('job_aaaaaaaaaaaa'), { code: 'not_reachable' });
    assert.equal(server.seen.length, 4);
  });

  it('obeys Retry-After', async () => {
    await serve((_seen, response, nth) => {
      if (nth === 1) json(response, 429, failure('rate_limited'), { 'retry-after': '1' });
      else json(response, 201, created);
    });
    await client.createJob(request);
    const [first, second] = server.seen;
    assert.ok(first && second && second.atMs - first.atMs >= 990, 'the second request came too early');
  });

  it('obeys retry_after_seconds where the header is missing', async () => {
    await serve((_seen, response, nth) => {
      if (nth === 1) json(response, 429, failure('rate_limited', { retry_after_seconds: 0.5 }));
      else json(response, 201, created);
    });
    await client.createJob(request);
    const [first, second] = server.seen;
    assert.ok(first && second && second.atMs - first.atMs >= 490, 'the second request came too early');
  });

  it('stops waiting for its next try when it is aborted', async () => {
    await serve((_seen, response) =>
      json(response, 503, failure('service_unavailable'), { 'retry-after': '60' }),
    );
    const began = performance.now();
    const reason = new Error('enough');
    await assert.rejects(client.getJob('job_aaaaaaaaaaaa', { signal: abortSoon(reason) }), reason);
    assert.ok(performance.now() - began < 5_000);
  });

  it('tells a server that speaks something else from Flashpods', async () => {
    await serve((_seen, response) => response.end('<html>'));
    await assert.rejects(client.getJob('job_aaaaaaaaaaaa'), { code: 'unexpected_answer' });
  });

  it('says so when nothing listens', async () => {
    await serve((_seen, response) => response.end());
    const free = createServer();
    await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve));
    const { port } = free.address() as AddressInfo;
    await new Promise((resolve) => free.close(resolve));
    const nobody = new FlashpodsClient(connectionTo(`http://127.0.0.1:${port}`));
    await assert.rejects(nobody.health(), { code: 'not_reachable', message: /connection refused/ });
  });
});

describe('the time between two tries', () => {
  const busy = (retryAfterMs?: number): ClientError =>
    new ClientError('rate_limited', '', { status: 429, retryAfterMs });

  it('doubles from 1 s, half of it by chance', () => {
    const [slow, quick] = [new Retries(DEFAULT_RETRY, () => 1), new Retries(DEFAULT_RETRY, () => 0)];
    const delays = (retries: Retries): unknown[] =>
      Array.from({ length: 5 }, () => retries.delayAfter(busy()));
    assert.deepEqual(delays(slow), [1_000, 2_000, 4_000, 8_000, null]);
    assert.deepEqual(delays(quick), [500, 1_000, 2_000, 4_000, null]);
  });

  it('is never above 30 s by itself', () => {
    const retries = new Retries({ ...DEFAULT_RETRY, maxAttempts: 100 }, () => 1);
    const delays = Array.from({ length: 50 }, () => retries.delayAfter(busy()) ?? 0);
    assert.equal(Math.max(...delays), 30_000);
  });

  it('passes the error on when the server wants more than five minutes', () => {
    assert.equal(new Retries(DEFAULT_RETRY).delayAfter(busy(3_600_000)), null);
  });

  it('reads Retry-After as seconds and as a date', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    assert.equal(parseRetryAfter('7', now), 7_000);
    assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:00:09 GMT', now), 9_000);
    assert.equal(parseRetryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now), 0);
    assert.equal(parseRetryAfter('soon', now), undefined);
    assert.equal(parseRetryAfter(undefined, now), undefined);
  });
});

function abortSoon(reason: Error): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 50);
  return controller.signal;
}
