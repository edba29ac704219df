import assert from 'node:assert/strict';
import { it } from 'mocha';
import type { Job } from '../../src/jobs/job.ts';
import { eventually } from '../support/eventually.ts';
import { countIn, into } from '../support/jobs.ts';
import { describeQueues } from './describe-queues.ts';
import { HOST_LOST_MS, LEASE_MS } from './installation.ts';
import { dropLead, leader, silenceHost } from '../support/redis-state.ts';

describeQueues('the dispatcher', (here) => {
  it('brings a job to a host under a new epoch and takes it out of the intake', async () => {
    await here.openHost('a', 4);
    here.dispatcher('a');
    const job = await here.submit();
    await here.becomes(job, 'starting');
    await eventually('the host has it', async () => (await here.inRunQueue(job, 'a')) === 'waiting');
    const row = await here.row(job.id);
    assert.deepEqual([row.host, row.epoch], ['a', 1]);
    assert.equal(await here.resources.waiting.place(row.id), null);
    assert.equal(await here.resources.queues.intake.getJob(job.id), undefined);
    assert.equal((await here.held())[0]?.claimed, false);
  });

  it('runs jobs to their end, in order, as room comes up', async () => {
    const host = await here.openHost('a', 1);
    const order: string[] = [];
    here.consumer(
      'a',
      here.processor(host, (job) => void order.push(job.id)),
    );
    const jobs = [];
    for (let index = 0; index < 5; index += 1) jobs.push(await here.submit());
    const urgent = await here.submit({ priority: 1 });
    here.dispatcher('a');
    for (const job of jobs) await here.becomes(job, 'completed');
    assert.deepEqual(order, [urgent.id, ...jobs.map((job) => job.id)]);
    await eventually('everything is given back', async () => (await here.held()).length === 0);
    assert.deepEqual(await here.resources.semaphore.audit(), []);
  });

  it('brings a single job of one owner in front of another’s many that came before', async () => {
    const host = await here.openHost('a', 2);
    const order: string[] = [];
    const flood = [];
    for (let index = 0; index < 80; index += 1) flood.push(await here.submit({ owner: 'a', priority: 1 }));
    let release: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (release = resolve));
    here.consumer(
      'a',
      here.processor(host, async (job) => {
        order.push(job.id);
        if (order.length <= 2) await begun;
      }),
    );
    here.dispatcher('a');
    await eventually('the host is full', () => order.length === 2);
    const small = await here.submit({ owner: 'b', priority: 10 });
    const large = await here.submit({ owner: 'c', priority: 10, cpus: 2, memoryGb: 2 });
    assert.ok(((await here.resources.waiting.place(small.id)) ?? 99) <= 2);
    release();
    await here.becomes(small, 'completed');
    await here.becomes(large, 'completed');
    // At most what ran already, the one that is nearest beside it, and what had been chosen at that moment.
    assert.ok(order.indexOf(small.id) <= 4, `${order.indexOf(small.id)}`);
    assert.ok(order.indexOf(large.id) <= 8, `${order.indexOf(large.id)}`);
  });

  it('keeps an owner within its limits, also where a dispatcher is late, while others use the rest', async () => {
    const host = await here.openHost('a', 4);
    await here.tenants.set({ owner: 'owner', weight: 1, limits: { runningJobs: 2 } }, 'test');
    let [running, most] = [0, 0];
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    here.consumer(
      'a',
      here.processor(host, async ({ owner }) => {
        if (owner !== 'owner') return;
        most = Math.max(most, (running += 1));
        await opened;
        running -= 1;
      }),
    );
    const jobs = [];
    for (let index = 0; index < 12; index += 1) jobs.push(await here.submit());
    // This one sees nothing of what is reserved, as if it had looked before the other began.
    const late = here.process();
    const look = late.semaphore.view.bind(late.semaphore);
    late.semaphore.view = async () => ({ ...(await look()), reservations: [] });
    here.dispatcher('a', { resources: late });
    await eventually('two run', () => running === 2);
    const other = await here.submit({ owner: 'other' });
    await here.becomes(other, 'completed');
    assert.equal(running, 2);
    open();
    for (const job of jobs) await here.becomes(job, 'completed');
    assert.equal(most, 2);
    assert.deepEqual(await here.resources.semaphore.audit(), []);
  });

  it('starts what is behind more jobs than a look takes in that are beyond a lowered limit', async () => {
    await here.openHost('a', 4);
    const beyond: Job[] = [];
    for (let index = 0; index < 70; index += 1) beyond.push(await here.submit({ cpus: 3 }));
    const small = await here.submit();
    await here.tenants.set({ owner: 'owner', weight: 1, limits: { cpus: 2 } }, 'test');
    here.dispatcher('a', { passingMs: 0 });
    await here.becomes(small, 'starting');
    await eventually('the first says why it waits', async () => {
      const [first] = await here.resources.queue.waits([await here.row(beyond[0]?.id ?? '')]);
      return first?.latestStart === null && /more than its owner may hold/.test(first.reason);
    });
  });

  it('undrains a host that Redis takes for drained, and the database does not', async () => {
    await here.openHost('a', 1);
    await here.resources.semaphore.drain('a', true);
    here.dispatcher('a');
    await here.becomes(await here.submit(), 'starting');
    await here.hosts.setDraining('a', true);
    await eventually(
      'it is drained',
      async () => (await here.resources.semaphore.view()).hosts[0]?.draining === true,
    );
  });

  it('keeps a job that does not fit, and says why it waits', async () => {
    await here.openHost('a', 2);
    here.dispatcher('a');
    const job = await here.submit({ cpus: 8, memoryGb: 1 });
    const waiting = await here.submit({ cpus: 2, memoryGb: 2 });
    await here.becomes(waiting, 'starting');
    const third = await here.submit({ cpus: 2, memoryGb: 2 });
    await eventually(
      'both say why',
      async () =>
        (await here.row(job.id)).waitingReason !== null && (await here.row(third.id)).waitingReason !== null,
    );
    assert.equal(
      (await here.row(job.id)).waitingReason,
      'No host that takes work now has 8 cpus and 1 GB. It is next.',
    );
    assert.equal(
      (await here.row(third.id)).waitingReason,
      'Waiting for 2 cpus and 2 GB: a has 0 cpus and 0 GB free. 1 job is ahead.',
    );
    assert.equal((await here.row(waiting.id)).waitingReason, null);
  });

  it('gives nothing to a host whose lease has ended', async () => {
    await here.openHost('a', 4);
    await here.openHost('b', 4);
    await silenceHost(here.resources, 'a', LEASE_MS + 1_000);
    here.dispatcher('b');
    const jobs = [await here.submit(), await here.submit()];
    for (const job of jobs) await here.becomes(job, 'starting');
    assert.deepEqual(
      [...new Set(await Promise.all(jobs.map(async (job) => (await here.row(job.id)).host)))],
      ['b'],
    );
  });

  it('fails a job that waited longer than it may', async () => {
    here.dispatcher('a');
    const job = await here.submit({ maxQueueSeconds: 1 });
    await here.becomes(job, 'failed');
    const row = await here.row(job.id);
    assert.equal(row.error, 'queue_timeout');
    await eventually(
      'the queue is empty',
      async () => (await here.resources.waiting.overview()).length === 0,
    );
  });

  it('never starts a job that was cancelled while it waited', async () => {
    await here.openHost('a', 4);
    const job = await here.submit();
    await here.store.transition(job.id, { from: ['queued'], ...into('cancelled'), actor: 'test' });
    here.dispatcher('a');
    await eventually(
      'the queue has given it up',
      async () => (await here.resources.waiting.overview()).length === 0,
    );
    assert.equal(await here.status(job), 'cancelled');
    assert.deepEqual(await here.held(), []);
    assert.equal(await here.inRunQueue(job, 'a'), 'unknown');
  });

  it('gives no epoch twice, though the queue holds an entry from before the last dispatch', async () => {
    await here.openHost('a', 1);
    const job = await here.submit();
    await here.setStarting(job, 'a', 3);
    await here.store.transition(job.id, {
      from: ['starting'],
      ...into('queued'),
      patch: { host: null },
      actor: 'test',
    });
    here.dispatcher('a');
    await here.becomes(job, 'starting');
    assert.equal((await here.row(job.id)).epoch, 4);
    await eventually('the host has it', async () => (await here.inRunQueue(job, 'a', 4)) === 'waiting');
    assert.equal((await here.held())[0]?.epoch, 4);
  });

  it('fails the jobs of a host that does not come back, and only then', async () => {
    const host = await here.openHost('a', 2);
    await here.openHost('b', 2);
    await here.declareWhole();
    const [running, cancelled] = [await here.submit(), await here.submit()];
    for (const job of [running, cancelled]) {
      await here.reserve(job, 'a');
      await here.setStarting(job, 'a');
      await here.resources.queue.withdraw(job.id);
      await here.resources.semaphore.claim(job.id, 1, 'a', host.generation);
    }
    await here.store.transition(running.id, { from: ['starting'], ...into('running'), actor: 'test' });
    await here.store.decideEnding(cancelled.id, 'cancel', 'test');
    await silenceHost(here.resources, 'a', HOST_LOST_MS - 5_000);
    here.dispatcher('b', { leaseMs: 1_000 });
    const proof = await here.submit();
    await here.becomes(proof, 'starting');
    assert.equal(await here.status(running), 'running');
    await silenceHost(here.resources, 'a', 10_000);
    await here.becomes(running, 'failed');
    assert.equal((await here.row(running.id)).error, 'host_lost');
    await here.becomes(cancelled, 'cancelled');
    await eventually('its reservations are gone', async () =>
      (await here.held()).every((one) => one.host !== 'a'),
    );
    assert.equal(
      (await here.resources.queue.capacity()).hosts.find(({ name }) => name === 'a')?.state,
      'lost',
    );
  });

  it('starts each of 500 jobs once, with two dispatchers', async () => {
    const other = here.process();
    await eventually('the other process is connected', () => other.connection.status === 'ready');
    const runs = new Map<string, number>();
    let over = 0;
    for (const name of ['a', 'b']) {
      const host = await here.openHost(name, 8);
      here.consumer(
        name,
        here.processor(host, (job) => void runs.set(job.id, (runs.get(job.id) ?? 0) + 1)),
        { concurrency: 8 },
      );
    }
    const watch = setInterval(() => {
      void here.resources.semaphore.view().then(({ hosts }) => {
        for (const { capacity, used } of hosts) if (used.cpusMilli > capacity.cpusMilli) over += 1;
      });
    }, 20);
    // Both lead: nobody keeps the lead for longer than a look, nor for less than one takes on a busy machine.
    let seen = 0;
    let idle = 0;
    const steal = setInterval(() => {
      if (runs.size === seen && ++idle < 40) return;
      seen = runs.size;
      idle = 0;
      void dropLead(here.resources);
    }, 3);
    try {
      here.dispatcher('a');
      here.dispatcher('b', { resources: other });
      const jobs: Job[] = [];
      for (let index = 0; index < 500; index += 1) jobs.push(await here.submit());
      await eventually('all have ended', async () => (await countIn(here.queries, 'completed')) === 500, {
        timeoutMs: 240_000,
      });
      assert.equal(runs.size, 500);
      assert.deepEqual(
        [...runs.values()].filter((times) => times !== 1),
        [],
      );
      await eventually('nothing is held', async () => (await here.held()).length === 0);
      assert.deepEqual(await here.resources.semaphore.audit(), []);
      assert.equal(over, 0);
      for (const job of jobs.slice(0, 20)) assert.equal((await here.row(job.id)).epoch, 1);
    } finally {
      clearInterval(watch);
      clearInterval(steal);
    }
  });

  it('hands the lead over at once when it is stopped', async () => {
    const other = here.process();
    await eventually('the other process is connected', () => other.connection.status === 'ready');
    await here.openHost('a', 1);
    const first = here.dispatcher('a');
    await eventually('it leads', () => leader(here.resources));
    here.dispatcher('b', { resources: other });
    await first.stop();
    const begun = performance.now();
    await here.becomes(await here.submit(), 'starting');
    assert.ok(performance.now() - begun < 3_000);
  });
});
