import assert from 'node:assert/strict';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { networkOf } from '../../api/middleware/rate-limit.ts';
import { ProcessRateLimiter, SharedRateLimiter } from '../../api/rate-limiter.ts';
import { RedisRateLimiter } from '../../queues/rate-limit/rate-limiter.ts';
import { eventually } from '../support/eventually.ts';
import { type ApiProcesses, startTwoApis } from './api-processes.ts';
import { type RunningApi, startApi } from './running-api.ts';

const statusesOf = (answers: readonly Response[]): Record<string, number> =>
  Object.fromEntries(
    Object.entries(Object.groupBy(answers, ({ status }) => String(status))).map(([status, group]) => [
      status,
      group?.length ?? 0,
    ]),
  );

describe('the rate limit', () => {
  it('is a bucket that fills at its rate and no further than its depth', async () => {
    let now = 0;
    const limiter = new ProcessRateLimiter({ perSecond: 10, burst: 3, now: () => now });
    const take = async (): Promise<boolean> => (await limiter.take('a')).allowed;
    assert.deepEqual([await take(), await take(), await take(), await take()], [true, true, true, false]);
    assert.equal((await limiter.take('a')).retryAfterMs, 100);
    assert.equal((await limiter.look('a')).allowed, false);
    assert.equal((await limiter.take('b')).remaining, 2);
    now += 100;
    assert.deepEqual([await take(), await take()], [true, false]);
    now += 60_000;
    assert.equal((await limiter.look('a')).remaining, 3);
    assert.equal((await limiter.look('a')).remaining, 3);
    assert.deepEqual([await take(), await take(), await take(), await take()], [true, true, true, false]);
  });

  it('never lets more through than depth and rate allow, in any rhythm of requests', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 500 }),
        fc.integer({ min: 1, max: 50 }),
        fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 80 }),
        async (perSecond, burst, pauses) => {
          let now = 0;
          const limiter = new ProcessRateLimiter({ perSecond, burst, now: () => now });
          let allowed = 0;
          for (const pause of pauses) {
            now += pause;
            const decision = await limiter.take('a');
            if (decision.allowed) allowed += 1;
            else assert.ok(decision.retryAfterMs > 0 && decision.retryAfterMs <= 1_000 / perSecond + 1e-6);
            assert.ok(allowed <= burst + (now / 1_000) * perSecond + 1e-6);
          }
        },
      ),
    );
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

  it('stands on answers to refused and lost requests, too', async () => {
    const api = await startApi();
    try {
      const requests: [path: string, init: RequestInit][] = [
        ['/health', {}],
        ['/docs', {}],
        ['/jobs', {}],
        ['/jobs', { headers: { authorization: 'Basic x' } }],
        ['/jobs', { headers: { authorization: 'Bearer wrong' } }],
        ['/queues', { headers: { cookie: 'flashpods_session=x' } }],
        ['/session', { method: 'POST' }],
        ['/nowhere', { headers: { authorization: `Bearer ${api.token}` } }],
        ['/jobs', { method: 'PATCH', headers: { authorization: `Bearer ${api.token}` } }],
        ['/jobs', { method: 'POST', body: 'x', headers: { authorization: `Bearer ${api.token}` } }],
      ];
      for (const [path, init] of requests) {
        const answer = await fetch(`${api.server.url}${path}`, init);
        for (const header of ['x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset'])
          assert.match(answer.headers.get(header) ?? '', /^\d+$/, `${header} of ${answer.status} ${path}`);
      }
    } finally {
      await api.stop();
    }
  });

  it('counts wrong tokens by their address, and never health', async () => {
    const api = await startApi({ rate: { perSecond: 0.01, burst: 4 } });
    try {
      const guess = (token: string): Promise<Response> =>
        fetch(`${api.server.url}/jobs`, { headers: { authorization: `Bearer ${token}` } });
      assert.equal((await api.caller.fetch('/jobs')).status, 200);
      const statuses = [];
      for (let n = 0; n < 5; n += 1) statuses.push((await guess(`wrong-${n}`)).status);
      assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
      const health = await fetch(`${api.server.url}/health`);
      assert.equal(health.status, 200);
      assert.equal(health.headers.get('x-ratelimit-limit'), '4');
      assert.equal((await api.caller.fetch('/jobs')).status, 200, 'who is known goes on undisturbed');
    } finally {
      await api.stop();
    }
  });

  it('answers a right guess as a wrong one once an address has guessed too often', async () => {
    const api = await startApi({ rate: { perSecond: 0.01, burst: 3 } });
    try {
      const guesses = await Promise.all(
        Array.from({ length: 10 }, () =>
          fetch(`${api.server.url}/capacity`, { headers: { authorization: 'Bearer x' } }),
        ),
      );
      assert.deepEqual(statusesOf(guesses), { 401: 3, 429: 7 });
      assert.equal((await api.caller.fetch('/capacity')).status, 429);
      const signIn = await fetch(`${api.server.url}/session`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ token: api.token }),
      });
      assert.equal(signIn.status, 429);
    } finally {
      await api.stop();
    }
  });

  it('takes for one address what one caller has: an IPv4 address, or 64 bits of IPv6', () => {
    assert.equal(networkOf('10.0.0.1'), '10.0.0.1');
    assert.equal(networkOf('::ffff:10.0.0.1'), '10.0.0.1');
    assert.equal(networkOf('::1'), '0:0:0:0::/64');
    assert.equal(networkOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
    assert.equal(networkOf('2001:db8::6'), '2001:db8:0:0::/64');
    assert.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0::/64');
    assert.notEqual(networkOf('2001:db8:1:3::1'), networkOf('2001:db8:1:2::1'));
  });

  describe('with Redis', () => {
    let api: RunningApi;
    before(async () => {
      const rate = { perSecond: 0.01, burst: 100 };
      api = await startApi({
        rateLimiter: ({ connection, keys }) =>
          new SharedRateLimiter(new RedisRateLimiter(connection, keys, rate), new ProcessRateLimiter(rate)),
      });
    });
    after(() => api.stop());

    const remaining = async (): Promise<{ left: number; ms: number }> => {
      const began = performance.now();
      const answer = await api.caller.fetch('/openapi.json'); // asks nothing of Redis by itself
      await answer.arrayBuffer();
      return { left: Number(answer.headers.get('x-ratelimit-remaining')), ms: performance.now() - began };
    };

    it('goes on with buckets of its own while Redis is away or hangs, without waiting, and comes back', async () => {
      assert.equal((await remaining()).left, 99);
      assert.equal((await remaining()).left, 98);

      process.kill(api.redis.pid, 'SIGSTOP');
      let own: number;
      try {
        const answers = [];
        for (let n = 0; n < 60; n += 1) answers.push(await remaining());
        assert.deepEqual(
          answers.map(({ left }) => left),
          Array.from({ length: 60 }, (_, n) => 97 - n),
        );
        // Waiting for Redis would cost each of them the time limit of a command, 2 s.
        const total = answers.reduce((sum, { ms }) => sum + ms, 0);
        assert.ok(total < 60_000, `60 requests took ${total} ms while Redis hung`);
        own = answers.at(-1)?.left ?? assert.fail();
      } finally {
        process.kill(api.redis.pid, 'SIGCONT');
      }
      // In Redis the requests that it did not hear of were not counted.
      await eventually('Redis decides again', async () => (await remaining()).left > own);

      await api.redis.halt();
      await eventually('it is noticed', () => api.queues.connection.status !== 'ready');
      for (let n = 0; n < 5; n += 1) {
        const away = await remaining();
        assert.ok(away.ms < 2_000, `${away.ms} ms`);
        own = away.left;
      }
      await api.redis.start();
      await eventually('Redis is back', () => api.queues.connection.status === 'ready');
      await eventually('Redis decides again', async () => (await remaining()).left > own);
    });
  });

  describe('of two API processes', () => {
    let apis: ApiProcesses;
    before(async () => {
      apis = await startTwoApis({ FLASHPODS_RATE_LIMIT_PER_SECOND: '1', FLASHPODS_RATE_LIMIT_BURST: '40' });
    });
    after(() => apis.stop());

    it('is one', async () => {
      const began = performance.now();
      const answers = [];
      for (let n = 0; n < 60; n += 1)
        answers.push(await (apis.callers[n % 2] ?? assert.fail()).fetch('/openapi.json'));
      const allowed = statusesOf(answers)['200'] ?? 0;
      // A few more, should Redis have been late: then a process decides by what it heard last.
      const most = 44 + Math.ceil((performance.now() - began) / 1_000);
      assert.ok(allowed >= 35 && allowed <= most, `${allowed}, at most ${most}`);
    });
  });
});
