import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { after, before, beforeEach, describe, it } from 'mocha';
import { connect, disconnect } from '../../queues/connection.ts';
import { createKeys } from '../../queues/keys.ts';
import { RedisRateLimiter } from '../../queues/rate-limit/rate-limiter.ts';
import { readScript } from '../../queues/script.ts';
import { eventually } from '../support/eventually.ts';
import { ownPrefix, silent, TestRedis } from '../support/redis.ts';

/** The script as it is but for the time, see there. */
const SCRIPT = readScript(
  new URL('../../queues/rate-limit/take.lua', import.meta.url),
  new URL('./fixtures/rate-limit/', import.meta.url),
);
const BEGIN = 60_000_000_000_000;

describe('the token bucket in Redis', () => {
  let redis: TestRedis;
  let connection: Redis;
  let keys = createKeys(ownPrefix());

  /** The script by a clock of the test: bucket, tokens a second, depth, 1 to take, microseconds. */
  const ask = (...args: [key: string, ...number[]]): Promise<unknown> => connection.eval(SCRIPT, 1, ...args);

  before(async () => {
    redis = await TestRedis.start();
    connection = connect(redis.url, 'producer', silent);
    await eventually('Redis is there', () => connection.status === 'ready');
  });
  beforeEach(() => {
    keys = createKeys(ownPrefix());
  });
  after(async () => {
    await disconnect(connection);
    await redis.stop();
  });

  it('gives its depth at once and then what flows in', async () => {
    const limiter = new RedisRateLimiter(connection, keys, { perSecond: 20, burst: 5 });
    const began = performance.now();
    const first = [];
    for (let n = 0; n < 5; n += 1) first.push((await limiter.take('a')).remaining);
    assert.deepEqual(first, [4, 3, 2, 1, 0]);
    const refused = await limiter.take('a');
    assert.equal(refused.allowed, false);
    assert.equal(refused.limit, 5);
    assert.ok(refused.retryAfterMs > 0 && refused.retryAfterMs <= 50, String(refused.retryAfterMs));
    assert.ok(refused.resetMs > 0 && refused.resetMs <= 250, String(refused.resetMs));
    assert.equal((await limiter.take('b')).remaining, 4);
    let taken = 5;
    await eventually('five more are allowed', async () => {
      if ((await limiter.take('a')).allowed) taken += 1;
      return taken === 10;
    });
    assert.ok(performance.now() - began >= 245, 'five tokens flow in within 250 ms and not sooner');
  });

  it('is one bucket for all who ask at once', async () => {
    const other = connect(redis.url, 'producer', silent);
    await eventually('Redis is there', () => other.status === 'ready');
    try {
      const rate = { perSecond: 1, burst: 30 };
      const limiters = [
        new RedisRateLimiter(connection, keys, rate),
        new RedisRateLimiter(other, keys, rate),
      ];
      const asked = await Promise.all(
        Array.from({ length: 100 }, (_, n) => (limiters[n % 2] ?? assert.fail()).take('a')),
      );
      assert.equal(asked.filter(({ allowed }) => allowed).length, 30);
    } finally {
      await disconnect(other);
    }
  });

  it('takes nothing when it is only looked at', async () => {
    const limiter = new RedisRateLimiter(connection, keys, { perSecond: 1, burst: 2 });
    for (let n = 0; n < 5; n += 1) assert.equal((await limiter.look('a')).remaining, 2);
    assert.equal(await connection.exists(keys.rateLimit('a')), 0);
    await limiter.take('a');
    await limiter.take('a');
    assert.equal((await limiter.look('a')).allowed, false);
  });

  it('leaves no key behind once it is full', async () => {
    const limiter = new RedisRateLimiter(connection, keys, { perSecond: 100, burst: 10 });
    await limiter.take('a');
    assert.equal(await connection.exists(keys.rateLimit('a')), 1);
    await eventually('the key expires', async () => (await connection.exists(keys.rateLimit('a'))) === 0, {
      timeoutMs: 2_000,
    });
  });

  it('keeps the average rate also where a token takes no whole number of microseconds', async () => {
    let allowed = 0;
    for (let now = BEGIN; now < BEGIN + 1_000; now += 1) {
      const [taken] = (await ask(keys.rateLimit('a'), 300_000, 2, 1, now)) as [number];
      allowed += taken;
    }
    assert.ok(Math.abs(allowed - 300) <= 3, `${allowed} in a millisecond`);
  });

  it('counts whole requests also where a token takes no whole number of microseconds', async () => {
    for (const rate of [3, 6, 7]) {
      const left = [];
      for (let n = 0; n < 10; n += 1)
        left.push(((await ask(keys.rateLimit(`rate-${rate}`), rate, 10, 1, BEGIN)) as number[])[1]);
      assert.deepEqual(left, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }
  });

  it('equals a plain account of tokens, no matter what the clock does', async () => {
    const perSecond = fc.constantFrom(1, 2, 5, 8, 10, 100, 1_000, 20_000);
    const step = fc.record({
      // Time may also go back, by as much as a day.
      passesUs: fc.oneof(
        fc.constant(0),
        fc.integer({ min: 0, max: 3_000_000 }),
        fc.integer({ min: -5, max: 5 }),
        fc.integer({ min: -86_400_000_000, max: 86_400_000_000 }),
      ),
      take: fc.boolean(),
      times: fc.integer({ min: 1, max: 4 }),
    });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(
        perSecond,
        fc.integer({ min: 1, max: 12 }),
        fc.array(step, { maxLength: 25 }),
        async (rate, depth, steps) => {
          const key = keys.rateLimit(`model-${(run += 1)}`);
          const tokenUs = 1_000_000 / rate;
          const mostUs = depth * tokenUs;
          let now = BEGIN;
          let creditUs = mostUs;
          for (const { passesUs, take, times } of steps) {
            now += passesUs;
            creditUs = Math.min(mostUs, creditUs + Math.max(0, passesUs));
            if (passesUs < 0) {
              // How far the time of an unused bucket goes back is its own affair: it gains nothing and owes nothing.
              const missingUs = ((await ask(key, rate, depth, 0, now)) as number[])[3] ?? assert.fail();
              assert.ok(missingUs >= mostUs - creditUs && missingUs <= mostUs, `${missingUs} of ${mostUs}`);
              creditUs = mostUs - missingUs;
            }
            for (let n = 0; n < times; n += 1) {
              const allowed = creditUs >= tokenUs;
              const retryUs = allowed ? 0 : tokenUs - creditUs;
              if (allowed && take) creditUs -= tokenUs;
              assert.deepEqual(await ask(key, rate, depth, take ? 1 : 0, now), [
                allowed ? 1 : 0,
                Math.floor(creditUs / tokenUs),
                retryUs,
                mostUs - creditUs,
              ]);
            }
          }
          await connection.del(key);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('says at once that Redis is away', async () => {
    const own = await TestRedis.start();
    const lone = connect(own.url, 'producer', silent);
    try {
      await eventually('Redis is there', () => lone.status === 'ready');
      const limiter = new RedisRateLimiter(lone, keys, { perSecond: 1, burst: 2 });
      await limiter.take('a');
      await own.halt();
      await eventually('it is noticed', () => lone.status !== 'ready');
      const began = performance.now();
      await assert.rejects(limiter.take('a'), { code: 'service_unavailable' });
      // Less than the time limit of one command.
      assert.ok(performance.now() - began < 2_000);
      await own.start();
      await eventually('it is back', () => lone.status === 'ready');
      await limiter.take('a'); // a new process, which has forgotten the script
    } finally {
      await disconnect(lone);
      await own.stop();
    }
  });
});
