import assert from 'node:assert/strict';
import { it } from 'mocha';
import type { Hold } from '../../queues/semaphore/semaphore.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { amountOf, inApiUnits, NOTHING } from '../../src/jobs/amount.ts';
import type { Job } from '../../src/jobs/job.ts';
import { eventually } from '../support/eventually.ts';
import { describeQueues } from './describe-queues.ts';

describeQueues('the intake', (here) => {
  const shown = async (): Promise<(string | undefined)[]> =>
    (await here.resources.queues.intake.getPrioritized()).map((entry) => entry.id);

  const placesOf = (...jobs: Job[]) => here.resources.waiting.places(jobs.map(({ id }) => id));
  const hold = (jobId: string, owner: string): Hold => ({
    jobId,
    epoch: 1,
    owner,
    cpusMilli: 1_000,
    memoryMib: 1_024,
    endsBy: null,
  });

  it('holds a job once, however often it is enqueued', async () => {
    const job = await here.submit();
    await Promise.all([1, 2, 3].map(() => here.resources.queue.enqueue(job)));
    assert.deepEqual(await shown(), [job.id]);
    assert.equal((await here.resources.waiting.overview()).length, 1);
    assert.equal(await here.resources.waiting.place(job.id), 1);
  });

  it('misses a job that was entered by half, and enters it as one', async () => {
    const { connection, keys, queue, waiting } = here.resources;
    const job = await here.submit();
    // As `enter.lua` leaves it when it does not come to its last command: the owner's list holds it already.
    await connection.del(keys.waitingJob(job.id), `${here.prefix}:waiting:counts`);
    assert.deepEqual(await waiting.missing([job.id]), [job.id]);
    await queue.enqueue(job);
    assert.deepEqual(await waiting.missing([job.id]), []);
    assert.deepEqual([...(await waiting.counts()).values()], [1]);
    assert.deepEqual(
      (await waiting.candidates()).map(({ jobId }) => jobId),
      [job.id],
    );
  });

  it('misses a job that waits and was taken out by half', async () => {
    const { connection, queue, waiting } = here.resources;
    const job = await here.submit();
    await connection.zrem(`${here.prefix}:waiting:all`, job.id);
    assert.deepEqual(await waiting.missing([job.id]), [job.id]);
    await queue.enqueue(job);
    assert.equal((await waiting.overview()).length, 1);
  });

  it('forgets a job that was entered by half and waits no more', async () => {
    const { connection, keys, waiting } = here.resources;
    const job = await here.submit();
    await connection.del(keys.waitingJob(job.id));
    assert.deepEqual(await waiting.candidates(), []);
    assert.deepEqual([...(await waiting.counts()).keys()], []);
    assert.equal((await waiting.overview()).length, 0);
    assert.deepEqual(await connection.keys(`${here.prefix}:waiting:*`), []);
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
    assert.equal(await here.resources.waiting.place(job.id), null);
    const left = await here.resources.connection.keys(`${here.prefix}:waiting:*`);
    assert.deepEqual(left, []);
  });

  it('counts places by priority, then by position', async () => {
    const first = await here.submit();
    const second = await here.submit();
    const urgent = await here.submit({ priority: 1 });
    assert.deepEqual(await placesOf(urgent, first, second), [1, 2, 3]);
  });

  it('lets a higher priority pass those that came less than so much earlier', async () => {
    const age = (job: Job, ms: number) =>
      here.resources.queue.enqueue({ ...job, orderedAt: job.orderedAt - ms });
    const old = await here.submit({ priority: 6, enqueue: false });
    const older = await here.submit({ priority: 6, enqueue: false });
    const fresh = await here.submit();
    await age(old, 590_000);
    await age(older, 610_000);
    assert.deepEqual(await placesOf(older, fresh, old), [1, 2, 3]);
  });

  it('keeps the order of those that come in the same millisecond', async () => {
    const jobs = [];
    for (let index = 0; index < 12; index += 1) jobs.push(await here.submit({ enqueue: false }));
    const at = jobs[0]?.orderedAt ?? 0;
    for (const job of jobs.toReversed()) await here.resources.queue.enqueue({ ...job, orderedAt: at });
    const order = (await here.resources.waiting.candidates()).map(({ jobId }) => jobId);
    assert.deepEqual(
      order,
      jobs.map(({ id }) => id),
    );
  });

  it('counts places as fair share will bring jobs forward', async () => {
    const flood = [];
    for (let index = 0; index < 20; index += 1) flood.push(await here.submit({ owner: 'busy' }));
    const [first, last] = [flood[0], flood[19]];
    assert.ok(first && last);
    const other = await here.submit({ owner: 'other' });
    const another = await here.submit({ owner: 'other' });
    assert.deepEqual(await placesOf(first, other, another, last), [1, 2, 4, 22]);

    // The busy owner holds three jobs of that size already.
    await here.openHost(
      'a',
      8,
      8,
      [0, 1, 2].map((index) => hold(`held${index}`, 'busy')),
    );
    assert.deepEqual(await placesOf(other, another, first, last), [1, 2, 3, 22]);

    await here.resources.waiting.setWeights(new Map([['busy', 4]]));
    assert.deepEqual(await placesOf(other, first, another, last), [1, 2, 4, 22]);
    await here.resources.waiting.setWeights(new Map());
    assert.deepEqual(await placesOf(other, another, first, last), [1, 2, 3, 22]);
  });

  it('puts a job that comes back into its old place', async () => {
    const first = await here.submit();
    const second = await here.submit();
    await here.resources.queue.withdraw(first.id);
    await here.resources.queue.enqueue(first);
    assert.equal(await here.resources.waiting.place(first.id), 1);
    assert.equal(await here.resources.waiting.place(second.id), 2);
  });

  it('keeps the newest epoch of a job', async () => {
    const job = await here.submit();
    await here.resources.queue.enqueue({ ...job, epoch: 3 });
    await here.resources.queue.enqueue(job);
    assert.equal((await here.resources.waiting.candidates())[0]?.epoch, 3);
  });

  it('looks at the first few of every owner', async () => {
    for (let index = 0; index < 70; index += 1) await here.submit({ owner: 'busy', priority: 1 });
    const other = await here.submit({ owner: 'other', priority: 10 });
    const candidates = await here.resources.waiting.candidates();
    assert.equal(candidates.length, 65);
    assert.ok(candidates.some((candidate) => candidate.jobId === other.id));
  });

  it('sees the head of every owner, in several looks when they are many', async () => {
    const { waiting } = here.resources;
    const job = await here.submit({ enqueue: false });
    await Promise.all(
      Array.from({ length: 1_500 }, (_, index) =>
        waiting.enter({ ...job, id: `job_${String(index).padStart(12, '0')}`, owner: `owner${index}` }, 0),
      ),
    );
    const looks = [await waiting.candidates(), await waiting.candidates()];
    assert.deepEqual(
      looks.map((look) => look.length),
      [1_024, 1_024],
    );
    assert.equal(new Set(looks.flat().map(({ owner }) => owner)).size, 1_500);
    assert.equal(await waiting.place('job_000000000077'), 78);
  });

  it('looks further down when all it saw of an owner waits for what may never come', async () => {
    const { waiting } = here.resources;
    const jobs = [];
    for (let index = 0; index < 66; index += 1) jobs.push(await here.submit());
    const first = await waiting.candidates();
    waiting.noteStuck(first, new Set(first.map(({ jobId }) => jobId)));
    const second = await waiting.candidates();
    assert.deepEqual(
      second.map(({ jobId }) => jobId),
      jobs.slice(64).map(({ id }) => id),
    );
    waiting.noteStuck(second, new Set(second.map(({ jobId }) => jobId)));
    assert.equal((await waiting.candidates())[0]?.jobId, jobs[0]?.id);
  });

  it('says what each owner has waiting and holds', async () => {
    await here.submit({ owner: 'a' });
    await here.submit({ owner: 'a' });
    await here.openHost('h', 4, 4, [hold('x', 'b'), hold('y', 'b')]);
    assert.deepEqual(
      await here.resources.queue.usage(),
      new Map([
        ['b', { runningJobs: 2, ...amountOf({ cpus: 2, memoryGb: 2 }), queuedJobs: 0 }],
        ['a', { runningJobs: 0, ...NOTHING, queuedJobs: 2 }],
      ]),
    );
  });

  it('tells listeners of a job, and its host, to look', async () => {
    const heard: string[] = [];
    const other = here.process();
    other.announcements.subscribe('job_1', () => heard.push('job'));
    const unsubscribe = other.announcements.subscribe('job_1', () => heard.push('gone'));
    other.announcements.subscribe('job_2', () => heard.push('other job'));
    other.announcements.subscribeHost('a', (jobId) => heard.push(`host ${jobId}`));
    unsubscribe();
    await eventually('both are told', () => {
      here.resources.announcements.announce('job_1', 'a');
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
      owner: job.owner,
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
        capacity: amountOf({ cpus: 4, memoryGb: 8 }),
        reserved: amountOf({ cpus: 1, memoryGb: 1 }),
        free: amountOf({ cpus: 3, memoryGb: 7 }),
        runningJobs: 1,
        lastHeartbeat: 0,
      },
    );
    assert.deepEqual([b?.state, c?.state, c && inApiUnits(c.capacity).cpus], ['draining', 'suspect', 1]);
    assert.equal(report.queue.length, 1);
    assert.ok(report.queue.oldestWaitSeconds <= 5);
  });

  it('takes a host’s queue away once, even if another process does so at the same time', async () => {
    const { connection, hostControl, queues } = here.resources;
    const other = here.process();
    await eventually('the other is connected', () => other.connection.status === 'ready');
    for (let round = 0; round < 20; round += 1) {
      await queues.run('gone').add('dispatch', { jobId: `j${round}`, epoch: 1 });
      const all = [hostControl, other.hostControl, hostControl, other.hostControl].map((each) =>
        each.forgetHost('gone'),
      );
      assert.deepEqual(await Promise.all(all), [true, true, true, true]);
      assert.deepEqual(await connection.keys(`${here.prefix}:run-gone:*`), []);
    }
  });

  it('can be made before Redis is there', async () => {
    const job = await here.submit({ enqueue: false });
    await here.redis.halt();
    const early = here.process();
    await assert.rejects(early.queue.enqueue(job), FlashpodsError);
    await here.redis.start();
    await eventually('the queue works', () =>
      early.queue.enqueue(job).then(
        () => true,
        () => false,
      ),
    );
    assert.equal(await early.waiting.place(job.id), 1);
  });

  it('refuses at once while Redis is away, and works when it is back', async () => {
    const job = await here.submit();
    await here.redis.halt();
    await eventually('the outage is noticed', () => here.resources.connection.status !== 'ready');
    const begun = performance.now();
    await assert.rejects(
      here.resources.queue.enqueue(job),
      (error) => error instanceof FlashpodsError && error.code === 'service_unavailable',
    );
    await assert.rejects(here.resources.queue.capacity(), FlashpodsError);
    here.resources.announcements.announce(job.id, 'a');
    // Less than the time limit of one command.
    assert.ok(performance.now() - begun < 2_000);
    await here.redis.start();
    await eventually('the queue works again', () => here.resources.queue.enqueue(job).then(() => true));
    assert.equal(await here.resources.waiting.place(job.id), 1);
  });
});
