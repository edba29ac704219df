import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { FlashpodsError } from '../../src/errors.ts';
import { eventually } from '../support/eventually.ts';
import { TestRedis } from '../support/redis.ts';
import { Installation } from './installation.ts';

describe('the intake', () => {
  let redis: TestRedis;
  let here: Installation;
  before(async () => {
    redis = await TestRedis.start();
  });
  after(() => redis.stop());
  beforeEach(async () => {
    here = await Installation.open(redis);
  });
  afterEach(() => here.close());

  const shown = async (): Promise<(string | undefined)[]> =>
    (await here.resources.queues.intake.getPrioritized()).map((entry) => entry.id);

  it('holds a job once, however often it is enqueued', async () => {
    const job = await here.submit();
    await Promise.all([1, 2, 3].map(() => here.resources.queue.enqueue(job)));
    assert.deepEqual(await shown(), [job.id]);
    assert.equal((await here.resources.waiting.overview()).length, 1);
    assert.equal(await here.resources.queue.queuePosition(job), 1);
  });

  it('shows people what a job needs, and neither its command nor its environment', async () => {
    await here.submit({ command: 'echo confidential', env: { KEY: 'secret' } });
    const [entry] = await here.resources.queues.intake.getPrioritized();
    assert.equal(entry?.data.cpus, 1);
    assert.doesNotMatch(JSON.stringify(entry), /confidential|secret/);
  });

  it('gives up a withdrawn job, also one that it never had', async () => {
    const job = await here.submit();
    await here.resources.queue.withdraw(job.id);
    await here.resources.queue.withdraw('job_aaaaaaaaaaaa');
    assert.deepEqual(await shown(), []);
    assert.equal(await here.resources.queue.queuePosition(job), null);
    const left = await here.resources.connection.keys(`${here.prefix}:waiting:*`);
    assert.deepEqual(left, []);
  });

  it('counts places by priority, then by position, over all owners', async () => {
    const first = await here.submit();
    const second = await here.submit({ owner: 'other' });
    const urgent = await here.submit({ priority: 1 });
    const places = await Promise.all(
      [urgent, first, second].map((job) => here.resources.queue.queuePosition(job)),
    );
    assert.deepEqual(places, [1, 2, 3]);
  });

  it('puts a job that comes back into its old place', async () => {
    const first = await here.submit();
    const second = await here.submit();
    await here.resources.queue.withdraw(first.id);
    await here.resources.queue.enqueue(first);
    assert.equal(await here.resources.queue.queuePosition(first), 1);
    assert.equal(await here.resources.queue.queuePosition(second), 2);
  });

  it('keeps the newest epoch of a job', async () => {
    const job = await here.submit();
    await here.resources.queue.enqueue({ ...job, epoch: 3 });
    await here.resources.queue.enqueue(job);
    assert.equal((await here.resources.waiting.candidates())[0]?.epoch, 3);
  });

  it('looks at the first few of every owner and priority', async () => {
    for (let index = 0; index < 70; index += 1) await here.submit({ owner: 'busy' });
    const other = await here.submit({ owner: 'other' });
    const candidates = await here.resources.waiting.candidates();
    assert.equal(candidates.length, 65);
    assert.ok(candidates.some((candidate) => candidate.jobId === other.id));
  });

  it('tells listeners of a job, and its host, to look', async () => {
    const heard: string[] = [];
    const other = here.process();
    other.queue.subscribe('job_1', () => heard.push('job'));
    const unsubscribe = other.queue.subscribe('job_1', () => heard.push('gone'));
    other.queue.subscribe('job_2', () => heard.push('other job'));
    other.queue.subscribeHost('a', (jobId) => heard.push(`host ${jobId}`));
    unsubscribe();
    await eventually('both are told', () => {
      here.resources.queue.announce('job_1', 'a');
      return heard.includes('job') && heard.includes('host job_1');
    });
    assert.ok(!heard.includes('gone') && !heard.includes('other job'));
  });

  it('reports capacity in whole cpus and GB, and the age of the queue', async () => {
    await here.openHost('a', 4, 8);
    await here.openHost('b', 2);
    await here.resources.semaphore.drain('b', true);
    await here.resources.semaphore.expect('c', { cpusMilli: 1_500, memoryMib: 1_500 });
    const job = await here.submit();
    await here.resources.semaphore.restoring('t');
    await here.resources.semaphore.found('t');
    await here.resources.semaphore.reserve({
      jobId: job.id,
      epoch: 1,
      host: 'a',
      cpusMilli: 1_000,
      memoryMib: 1_024,
      endsBy: null,
      ticket: '',
    });
    const report = await here.resources.queue.capacity();
    const [a, b, c] = report.hosts;
    assert.deepEqual(
      { ...a, lastHeartbeat: 0 },
      {
        name: 'a',
        state: 'up',
        capacity: { cpus: 4, memoryGb: 8 },
        reserved: { cpus: 1, memoryGb: 1 },
        free: { cpus: 3, memoryGb: 7 },
        runningJobs: 1,
        lastHeartbeat: 0,
      },
    );
    assert.deepEqual([b?.state, c?.state, c?.capacity.cpus], ['draining', 'suspect', 1]);
    assert.equal(report.queue.length, 1);
    assert.ok(report.queue.oldestWaitSeconds <= 5);
  });

  it('can be made before Redis is there', async () => {
    const job = await here.submit({ enqueue: false });
    await redis.halt();
    const early = here.process();
    await assert.rejects(early.queue.enqueue(job), FlashpodsError);
    await redis.start();
    await eventually('the queue works', () =>
      early.queue.enqueue(job).then(
        () => true,
        () => false,
      ),
    );
    assert.equal(await early.queue.queuePosition(job), 1);
  });

  it('refuses at once while Redis is away, and works when it is back', async () => {
    const job = await here.submit();
    await redis.halt();
    await eventually('the outage is noticed', () => here.resources.connection.status !== 'ready');
    const begun = performance.now();
    await assert.rejects(
      here.resources.queue.enqueue(job),
      (error) => error instanceof FlashpodsError && error.code === 'service_unavailable',
    );
    await assert.rejects(here.resources.queue.capacity(), FlashpodsError);
    here.resources.queue.announce(job.id, 'a');
    assert.ok(performance.now() - begun < 500);
    await redis.start();
    await eventually('the queue works again', () => here.resources.queue.enqueue(job).then(() => true));
    assert.equal(await here.resources.queue.queuePosition(job), 1);
  });
});
