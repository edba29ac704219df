import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { ProcessRateLimiter } from '../../api/rate-limiter.ts';
import { startApi } from './running-api.ts';

describe('the rate limit', () => {
  it('is a bucket that fills at its rate and no further than its depth', async () => {
    let now = 0;
    const limiter = new ProcessRateLimiter({ perSecond: 10, burst: 3, now: () => now });
    const take = async (): Promise<boolean> => (await limiter.take('a')).allowed;
    assert.deepEqual([await take(), await take(), await take(), await take()], [true, true, true, false]);
    assert.equal((await limiter.take('a')).retryAfterMs, 100);
    assert.equal((await limiter.take('b')).remaining, 2);
    now += 100;
    assert.deepEqual([await take(), await take()], [true, false]);
    now += 60_000;
    assert.equal((await limiter.look('a')).remaining, 3);
    assert.equal((await limiter.look('a')).remaining, 3);
    assert.deepEqual([await take(), await take(), await take(), await take()], [true, true, true, false]);
  });

  it('stands on every answer, and refuses with the time to wait', async () => {
    const api = await startApi({ rate: { perSecond: 1, burst: 5 } });
    try {
      const answers = [];
      for (let n = 0; n < 6; n += 1) answers.push(await api.caller.fetch('/jobs'));
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200, 200, 200, 429],
      );
      assert.deepEqual(
        answers.map(({ headers }) => headers.get('x-ratelimit-remaining')),
        ['4', '3', '2', '1', '0', '0'],
      );
      const refused = answers[5];
      assert.ok(refused);
      assert.equal(refused.headers.get('x-ratelimit-limit'), '5');
      assert.ok(Number(refused.headers.get('x-ratelimit-reset')) > Date.now() / 1_000);
      assert.equal(refused.headers.get('retry-after'), '1');
      const body = (await refused.json()) as Record<string, unknown>;
      assert.equal(body['error'], 'rate_limited');
      assert.equal(body['retry_after_seconds'], 1);
      assert.equal(body['retryable'], true);
    } finally {
      await api.stop();
    }
  });

  it('counts wrong tokens by their address, and never health', async () => {
    const api = await startApi({ rate: { perSecond: 1, burst: 3 } });
    try {
      const guess = (): Promise<Response> =>
        fetch(`${api.server.url}/jobs`, { headers: { authorization: 'Bearer wrong' } });
      const statuses = [];
      for (let n = 0; n < 5; n += 1) statuses.push((await guess()).status);
      assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
      const health = await fetch(`${api.server.url}/health`);
      assert.equal(health.status, 200);
      assert.equal(health.headers.get('x-ratelimit-limit'), '3');
      assert.equal((await api.caller.fetch('/jobs')).status, 200);
    } finally {
      await api.stop();
    }
  });
});
