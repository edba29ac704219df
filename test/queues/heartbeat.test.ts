import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { Heartbeat } from '../../queues/heartbeat/heartbeat.ts';
import { createQueueResources, type QueueResources } from '../../queues/resources.ts';
import type { HostEntry } from '../../queues/semaphore/farm-view.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { eventually } from '../support/eventually.ts';
import { ownPrefix, TestRedis } from '../support/redis.ts';
import { hostKey } from '../support/redis-state.ts';

const logger = createLogger({ level: 'silent', role: 'test' });
const SIZE = { cpusMilli: 1_000, memoryMib: 1_024 };
const LEASE_MS = 1_000;

/** As SQLite does to it on a disk that does not answer. */
function stopEventLoop(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('the heartbeat of a host', () => {
  let redis: TestRedis;
  let resources: QueueResources;
  let heartbeat: Heartbeat;
  let answers: string[];
  before(async () => {
    redis = await TestRedis.start();
  });
  after(async () => {
    await redis.stop();
  });
  beforeEach(async () => {
    answers = [];
    resources = createQueueResources({ redisUrl: redis.url, logger, prefix: ownPrefix() });
    await eventually('Redis answers', () => resources.ping().then(() => true));
  });
  afterEach(async () => {
    await heartbeat.stop();
    await resources.close();
  });

  const begin = async (deadMs?: number): Promise<number> => {
    heartbeat = new Heartbeat({
      redisUrl: redis.url,
      prefix: resources.keys.prefix,
      host: 'a',
      everyMs: 100,
      onAnswer: (answer) => void answers.push(answer),
      logger,
      ...(deadMs === undefined ? {} : { deadMs }),
    });
    const generation = await resources.semaphore.register('a', SIZE, LEASE_MS, null);
    heartbeat.begin(generation);
    await eventually('it beats', () => answers.length > 0);
    return generation;
  };
  const host = async (): Promise<HostEntry> => {
    const [entry] = (await resources.semaphore.view()).hosts;
    assert.ok(entry);
    return entry;
  };

  it('goes on while the event loop of its process stands still for longer than the lease', async () => {
    await begin();
    stopEventLoop(3 * LEASE_MS);
    assert.equal((await host()).leaseLive, true);
  });

  it('ends with a process whose event loop never turns again', async () => {
    await begin(500);
    stopEventLoop(3 * LEASE_MS);
    assert.equal((await host()).leaseLive, false);
  });

  it('says what Redis asks for, and that a newer process has the name', async () => {
    const generation = await begin();
    assert.equal(answers.at(-1), 'synchronise');
    await resources.semaphore.sync('a', generation, () => Promise.resolve([]));
    await eventually('all is well', () => answers.at(-1) === 'ok');
    await resources.connection.del(hostKey(resources.keys, 'a'));
    await eventually('it is to register', () => answers.at(-1) === 'register');
    await resources.semaphore.register('a', SIZE, LEASE_MS, generation);
    await eventually('it is known again', () => answers.at(-1) === 'synchronise');
    await resources.semaphore.register('a', SIZE, LEASE_MS, null);
    await eventually('it is fenced', () => answers.at(-1) === 'fenced');
  });
});
