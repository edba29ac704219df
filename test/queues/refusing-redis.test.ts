import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { QueueTimeouts } from '../../queues/queue-timeouts.ts';
import { createQueueResources, type QueueResources } from '../../queues/resources.ts';
import { Database } from '../../src/database/database.ts';
import { jobStores, type JobStores } from '../../src/database/job-stores.ts';
import { eventually } from '../support/eventually.ts';
import { newJob } from '../support/jobs.ts';
import { ownPrefix, silent, TestRedis } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

describe('a Redis', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let redis: TestRedis;
  let resources: QueueResources;
  let database: Database;
  let stores: JobStores;

  before(async () => {
    directory = await temporaryDirectory();
    redis = await TestRedis.start();
    resources = createQueueResources({ redisUrl: redis.url, logger: silent, prefix: ownPrefix() });
    database = await Database.open({ path: `${directory.path}/db` });
    stores = jobStores(database);
    await eventually('Redis is connected', () => resources.connection.status === 'ready');
  });
  after(async () => {
    await resources.close();
    await redis.stop();
    await database.close();
    await directory.remove();
  });

  it('that answers and refuses writes, as with a full disk, is not well', async () => {
    await resources.ping();
    await resources.connection.config('SET', 'min-replicas-to-write', '1');
    assert.equal(await resources.connection.ping(), 'PONG');
    await assert.rejects(resources.ping(), /NOREPLICAS/);
    await resources.connection.config('SET', 'min-replicas-to-write', '0');
    await resources.ping();
  });

  it('of another installation says so', async () => {
    assert.equal(await resources.claim('one'), 'one');
    assert.equal(await resources.claim('two'), 'one');
  });

  it('that is away lets nobody wait longer than its `max_queue_seconds`', async () => {
    const { lifecycle, queries } = stores;
    const waits = async (more: Record<string, unknown>): Promise<string> =>
      (await lifecycle.accepted(newJob(more))).job.id;
    const over = await waits({ max_queue_seconds: 1 });
    const patient = await waits({ max_queue_seconds: 3_600 });
    const endless = await waits({});
    await redis.stop();
    await eventually('the connection is gone', () => resources.connection.status !== 'ready');
    const stop = new QueueTimeouts({ resources, lifecycle, queries }).every(50);
    const ended = await eventually('its time is over', async () => {
      const job = await queries.get(over);
      return job?.status === 'failed' ? job : null;
    });
    await stop();
    assert.equal(ended.errorCode, 'queue_timeout');
    for (const id of [patient, endless]) assert.equal((await queries.get(id))?.status, 'pending');
  });
});
