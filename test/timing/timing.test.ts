import assert from 'node:assert/strict';
import { MessageChannel } from 'node:worker_threads';
import { describe, it } from 'mocha';
import { pauseAfter, retry } from '../../src/timing/backoff.ts';
import { Bell, pause } from '../../src/timing/bell.ts';
import { within } from '../../src/timing/within.ts';

const LONG_MS = 60_000;

async function took(work: () => Promise<unknown>): Promise<number> {
  const since = performance.now();
  await work();
  return performance.now() - since;
}

describe('a bell', () => {
  it('ends the pause of who waits', async () => {
    const bell = new Bell();
    const waiting = bell.wait(LONG_MS);
    bell.ring();
    await waiting;
  });

  it('that rang since the last pause ends the next one at once, and only that', async () => {
    const bell = new Bell();
    bell.ring();
    bell.ring();
    await bell.wait(LONG_MS);
    assert.ok((await took(() => bell.wait(30))) >= 29);
  });

  it('waits without end where no time is given', async () => {
    const bell = new Bell();
    setTimeout(bell.ring, 10);
    await bell.wait();
  });

  it('is over for good once its signal is aborted, and leaves no listener', async () => {
    const stop = new AbortController();
    const bell = new Bell(stop.signal);
    const waiting = bell.wait(LONG_MS);
    stop.abort();
    await waiting;
    await bell.wait(LONG_MS);
    await pause(LONG_MS, stop.signal);
  });
});

describe('a retry', () => {
  const fast = { firstMs: 1, longestMs: 2 };
  const failing = (times: number): (() => Promise<number>) => {
    let calls = 0;
    return () =>
      (calls += 1) > times ? Promise.resolve(calls) : Promise.reject(new Error(`failure ${calls}`));
  };

  it('doubles its pauses up to the longest, of which a share may be chance', () => {
    const backoff = { firstMs: 100, longestMs: 500 };
    assert.deepEqual(
      [1, 2, 3, 4, 2_000].map((failures) => pauseAfter(failures, backoff)),
      [100, 200, 400, 500, 500],
    );
    const jittered = { ...backoff, jitter: 0.5 };
    assert.equal(
      pauseAfter(2, jittered, () => 0),
      100,
    );
    assert.equal(
      pauseAfter(2, jittered, () => 1),
      200,
    );
  });

  it('goes on until the work succeeds, and tells of every failure', async () => {
    const told: string[] = [];
    const onFailure = (error: unknown, pauseMs: number): unknown => told.push(`${String(error)}: ${pauseMs}`);
    assert.equal(await retry(failing(3), { ...fast, onFailure }), 4);
    assert.deepEqual(told, ['Error: failure 1: 1', 'Error: failure 2: 2', 'Error: failure 3: 2']);
  });

  it('passes on what would not go better', async () => {
    const again = (error: unknown): boolean => String(error) !== 'Error: failure 2';
    await assert.rejects(retry(failing(3), { ...fast, again }), /failure 2/);
  });

  it('passes the failure on after its time, but tries once', async () => {
    await assert.rejects(retry(failing(3), { ...fast, deadline: performance.now() }), /failure 1/);
    assert.equal(await retry(failing(0), { ...fast, deadline: 0 }), 1);
  });

  it('ends within its pause when its signal is aborted', async () => {
    const stop = new AbortController();
    const onFailure = (): void => setImmediate(() => stop.abort(new Error('stopped'))) as unknown as void;
    const options = { firstMs: LONG_MS, longestMs: LONG_MS, signal: stop.signal, onFailure };
    await assert.rejects(retry(failing(3), options), /stopped/);
  });
});

describe('a promise that may be too late', () => {
  const never = new Promise<never>(() => undefined);

  it('is what it comes to, or what stands for the delay', async () => {
    assert.equal(await within(Promise.resolve(1), LONG_MS, 'late'), 1);
    assert.equal(await within(never, 5, 'late'), 'late');
    await assert.rejects(within(Promise.reject(new Error('failed')), LONG_MS, 'late'), /failed/);
  });

  it('is not waited for once the signal is aborted', async () => {
    const stop = new AbortController();
    const waiting = within(never, LONG_MS, 'late', stop.signal);
    stop.abort();
    assert.equal(await waiting, 'late');
    assert.equal(await within(never, LONG_MS, 'late', stop.signal), 'late');
  });

  it('may fail afterwards: nobody is told', async () => {
    const { promise, reject } = Promise.withResolvers<never>();
    assert.equal(await within(promise, 1, null), null);
    reject(new Error('too late'));
    await pause(1);
  });

  it('counts when it came while the process itself was busy', async () => {
    const { port1, port2 } = new MessageChannel();
    const answer = new Promise<string>((resolve) =>
      port1.once('message', (message: unknown) => resolve(String(message))),
    );
    const waiting = within(answer, 5, 'late');
    port2.postMessage('came');
    for (const until = performance.now() + 20; performance.now() < until;);
    assert.equal(await waiting, 'came');
    port1.close();
  });
});
