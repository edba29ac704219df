import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { dispatchId } from '../../src/ids.ts';
import type { Job } from '../../src/jobs/job.ts';
import { eventually } from '../support/eventually.ts';
import type { ImageWord } from '../../queues/images/image-board.ts';
import type { Hold } from '../../queues/semaphore/semaphore.ts';
import { countIn } from '../support/jobs.ts';
import { TestRedis } from '../support/redis.ts';
import { HOST_LOST_MS, Installation, LEASE_MS } from './installation.ts';
import { ageReservation, dropLead, leader, silenceHost } from '../support/redis-state.ts';

/** Does something once in the middle of the look that first takes the job in. */
function during({ resources: { waiting } }: Installation, jobId: string, act: () => Promise<void>): void {
  const look = waiting.candidates.bind(waiting);
  let done = false;
  waiting.candidates = async () => {
    const candidates = await look();
    if (!done && candidates.some((candidate) => candidate.jobId === jobId)) {
      done = true;
      await act();
    }
    return candidates;
  };
}

describe('the dispatcher', () => {
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

  const status = async (job: Job): Promise<string> => (await here.row(job.id)).status;
  const becomes = (job: Job, wanted: string) =>
    eventually(`the job is ${wanted}`, async () => (await status(job)) === wanted);
  const inRunQueue = (job: Job, host: string, epoch = 1) =>
    here.resources.queues.run(host).getJobState(dispatchId(job.id, epoch));
  const held = async () => (await here.resources.semaphore.view()).reservations;
  /** As if the reservation had been made a while ago. */
  const age = (job: Job, ms = 10_000) => ageReservation(here.resources, job.id, ms);
  const silence = (host: string, ms: number) => silenceHost(here.resources, host, ms);
  const declareWhole = async () => {
    await here.resources.semaphore.restoring('t');
    await here.resources.semaphore.found('t');
  };
  const reserveFor = (job: Job, host: string, epoch = 1) =>
    here.resources.semaphore.reserve({
      jobId: job.id,
      epoch,
      host,
      owner: job.owner,
      cpusMilli: 1_000,
      memoryMib: 1_024,
      endsBy: null,
      ticket: 't',
    });
  const setStarting = (job: Job, host: string, epoch = 1) =>
    here.store.transition(job.id, {
      from: ['queued'],
      to: 'starting',
      patch: { host, epoch, startingAt: Date.now() },
      actor: 'test',
    });

  it('brings a job to a host under a new epoch and takes it out of the intake', async () => {
    await here.openHost('a', 4);
    here.dispatcher('a');
    const job = await here.submit();
    await becomes(job, 'starting');
    await eventually('the host has it', async () => (await inRunQueue(job, 'a')) === 'waiting');
    const row = await here.row(job.id);
    assert.deepEqual([row.host, row.epoch], ['a', 1]);
    assert.equal(await here.resources.waiting.place(row.id), null);
    assert.equal(await here.resources.queues.intake.getJob(job.id), undefined);
    assert.equal((await held())[0]?.claimed, false);
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
    for (const job of jobs) await becomes(job, 'completed');
    assert.deepEqual(order, [urgent.id, ...jobs.map((job) => job.id)]);
    await eventually('everything is given back', async () => (await held()).length === 0);
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
    await becomes(small, 'completed');
    await becomes(large, 'completed');
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
    await becomes(other, 'completed');
    assert.equal(running, 2);
    open();
    for (const job of jobs) await becomes(job, 'completed');
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
    await becomes(small, 'starting');
    await eventually('the first says why it waits', async () => {
      const [first] = await here.resources.queue.waits([await here.row(beyond[0]?.id ?? '')]);
      return first?.estimatedStart === null && /more than its owner may hold/.test(first.reason);
    });
  });

  it('undrains a host that Redis takes for drained, and the database does not', async () => {
    await here.openHost('a', 1);
    await here.resources.semaphore.drain('a', true);
    here.dispatcher('a');
    await becomes(await here.submit(), 'starting');
    await here.hosts.setDraining('a', true);
    await eventually(
      'it is drained',
      async () => (await here.resources.semaphore.view()).hosts[0]?.draining === true,
    );
  });

  describe('with images that hosts lack', () => {
    const image = 'rare';
    const openPuller = async (name: string, cpus: number, holds: readonly Hold[] = []) => {
      const capacity = { cpusMilli: cpus * 1_000, memoryMib: cpus * 1_024 };
      await here.hosts.register(name, capacity);
      const { semaphore } = here.resources;
      const generation = await semaphore.register(name, capacity, LEASE_MS, null, { pulls: true });
      await semaphore.sync(name, generation, async () => holds);
      const say = (state: ImageWord['state'], at: number) =>
        here.resources.images.say(name, image, { state, generation, at });
      return { generation, say };
    };
    const wished = (host: string) =>
      eventually(`${host} is asked for the image`, async () =>
        (await here.resources.images.wishes(host)).has(image),
      );

    it('fails those whose image is not to be had, though the clock of the host is behind', async () => {
      const a = await openPuller('a', 1);
      await a.say('failed', 2);
      here.dispatcher('a');
      const job = await here.submit({ image });
      // The failure from before is not its own.
      await wished('a');
      assert.equal(await status(job), 'queued');
      await a.say('failed', 1);
      await becomes(job, 'failed');
      assert.equal((await here.row(job.id)).error, 'image_pull_failed');
    });

    it('tries a third one where one could not get it and a busy one has it', async () => {
      const blocker = await here.submit();
      await here.resources.queue.withdraw(blocker.id);
      const hold = { jobId: blocker.id, epoch: 1, owner: 'owner', endsBy: null };
      const small = await openPuller('small', 1);
      const large = await openPuller('large', 2);
      const busy = await openPuller('busy', 1, [{ ...hold, cpusMilli: 1_000, memoryMib: 1_024 }]);
      await busy.say('present', 1);
      here.dispatcher('small');
      const job = await here.submit({ image });
      await wished('small');
      await small.say('failed', 1);
      await wished('large');
      await large.say('present', 1);
      await becomes(job, 'starting');
      assert.equal((await here.row(job.id)).host, 'large');
    });

    it('waits for a busy one that has it when the idle one can’t get it', async () => {
      const blocker = await here.submit();
      await here.resources.queue.withdraw(blocker.id);
      const hold = { jobId: blocker.id, epoch: 1, owner: 'owner', endsBy: null };
      const idle = await openPuller('idle', 1);
      const busy = await openPuller('busy', 1, [{ ...hold, cpusMilli: 1_000, memoryMib: 1_024 }]);
      await busy.say('present', 1);
      here.dispatcher('idle');
      const job = await here.submit({ image });
      await wished('idle');
      await idle.say('failed', 1);
      await eventually('it waits for room', async () => {
        const [wait] = await here.resources.queue.waits([await here.row(job.id)]);
        return /^Waiting for 1 cpu/.test(wait?.reason ?? '');
      });
      await here.resources.semaphore.release(blocker.id, 1);
      await becomes(job, 'starting');
      assert.equal((await here.row(job.id)).host, 'busy');
    });

    it('starts the one that has waited longest when the image has come, of more than a look takes in', async () => {
      const jobs: Job[] = [];
      for (let index = 0; index < 100; index += 1) jobs.push(await here.submit({ image }));
      const { say } = await openPuller('a', 1);
      const [first, last] = [jobs[0], jobs.at(-1)];
      assert.ok(first && last);
      during(here, last.id, () => say('present', 1));
      here.dispatcher('a');
      await eventually('one is on its way', async () => (await held()).length > 0);
      assert.equal((await held())[0]?.jobId, first.id);
    });
  });

  it('keeps a job that does not fit, and says why it waits', async () => {
    await here.openHost('a', 2);
    here.dispatcher('a');
    const job = await here.submit({ cpus: 8, memoryGb: 1 });
    const waiting = await here.submit({ cpus: 2, memoryGb: 2 });
    await becomes(waiting, 'starting');
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
    await silence('a', LEASE_MS + 1_000);
    here.dispatcher('b');
    const jobs = [await here.submit(), await here.submit()];
    for (const job of jobs) await becomes(job, 'starting');
    assert.deepEqual(
      [...new Set(await Promise.all(jobs.map(async (job) => (await here.row(job.id)).host)))],
      ['b'],
    );
  });

  it('fails a job that waited longer than it may', async () => {
    here.dispatcher('a');
    const job = await here.submit({ maxQueueSeconds: 1 });
    await becomes(job, 'failed');
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
    await here.store.transition(job.id, { from: ['queued'], to: 'cancelled', actor: 'test' });
    here.dispatcher('a');
    await eventually(
      'the queue has given it up',
      async () => (await here.resources.waiting.overview()).length === 0,
    );
    assert.equal(await status(job), 'cancelled');
    assert.deepEqual(await held(), []);
    assert.equal(await inRunQueue(job, 'a'), 'unknown');
  });

  it('gives no epoch twice, though the queue holds an entry from before the last dispatch', async () => {
    await here.openHost('a', 1);
    const job = await here.submit();
    await setStarting(job, 'a', 3);
    await here.store.transition(job.id, {
      from: ['starting'],
      to: 'queued',
      patch: { host: null },
      actor: 'test',
    });
    here.dispatcher('a');
    await becomes(job, 'starting');
    assert.equal((await here.row(job.id)).epoch, 4);
    await eventually('the host has it', async () => (await inRunQueue(job, 'a', 4)) === 'waiting');
    assert.equal((await held())[0]?.epoch, 4);
  });

  describe('finishes what a crash left', () => {
    it('after the reservation', async () => {
      await here.openHost('a', 1);
      await declareWhole();
      const job = await here.submit();
      await reserveFor(job, 'a');
      await age(job);
      here.dispatcher('a');
      await becomes(job, 'starting');
      await eventually('the host has it', async () => (await inRunQueue(job, 'a')) === 'waiting');
    });
    it('after the compare-and-set', async () => {
      await here.openHost('a', 1);
      await declareWhole();
      const job = await here.submit();
      await reserveFor(job, 'a');
      await setStarting(job, 'a');
      await age(job);
      here.dispatcher('a');
      await eventually('the host has it', async () => (await inRunQueue(job, 'a')) === 'waiting');
      assert.equal((await here.resources.waiting.overview()).length, 0);
      assert.equal((await here.row(job.id)).epoch, 1);
    });
    it('after the job was taken out of the intake', async () => {
      await here.openHost('a', 1);
      await declareWhole();
      const job = await here.submit();
      await reserveFor(job, 'a');
      await setStarting(job, 'a');
      await here.resources.queue.withdraw(job.id);
      await age(job);
      here.dispatcher('a');
      await eventually('the host has it', async () => (await inRunQueue(job, 'a')) === 'waiting');
    });
    it('when the host’s queue holds half of an entry', async () => {
      await here.openHost('a', 1);
      await declareWhole();
      const job = await here.submit();
      await reserveFor(job, 'a');
      await setStarting(job, 'a');
      // BullMQ writes the entry first and its id into the list after; the second is not there.
      await here.resources.connection.hset(
        `${here.prefix}:run-a:${dispatchId(job.id, 1)}`,
        'name',
        'dispatch',
      );
      await age(job);
      here.dispatcher('a');
      await eventually('the host has it', async () => (await inRunQueue(job, 'a')) === 'waiting');
    });
    it('of a host that put the dispatch aside before it claimed it', async () => {
      const host = await here.openHost('a', 1);
      const process = here.processor(host);
      let tries = 0;
      here.consumer('a', (dispatch, context) => {
        tries += 1;
        if (tries === 1) return Promise.reject(new Error('the database is locked'));
        if (tries === 2) return Promise.resolve({ status: 'void', exitCode: null });
        return process(dispatch, context);
      });
      here.dispatcher('a');
      const job = await here.submit();
      await becomes(job, 'completed');
      assert.equal((await here.row(job.id)).epoch, 1);
      assert.equal(tries, 3);
    });
    it('of a job that has ended since', async () => {
      await here.openHost('a', 1);
      await declareWhole();
      const job = await here.submit();
      await reserveFor(job, 'a');
      await here.store.transition(job.id, { from: ['queued'], to: 'cancelled', actor: 'test' });
      await age(job);
      here.dispatcher('a');
      await eventually('nothing is held', async () => (await held()).length === 0);
      assert.equal(await status(job), 'cancelled');
    });
    it('of a host that went away before it claimed the job: another one gets it', async () => {
      await here.openHost('a', 1);
      await declareWhole();
      const job = await here.submit();
      await reserveFor(job, 'a');
      await setStarting(job, 'a');
      await here.resources.queue.withdraw(job.id);
      await age(job);
      await silence('a', LEASE_MS + 1_000);
      await here.openHost('b', 1);
      here.dispatcher('b');
      await eventually('the other host has it', async () => (await inRunQueue(job, 'b', 2)) === 'waiting');
      assert.deepEqual([(await here.row(job.id)).host, (await here.row(job.id)).epoch], ['b', 2]);
    });
    it('in the database: rows that never reached the queue', async () => {
      await here.openHost('a', 1);
      await declareWhole(); // or the restoration after a loss of data would find it
      const job = await here.submit({ enqueue: false });
      here.dispatcher('a');
      await becomes(job, 'starting');
    });
    it('in the database: a row that waits again after a dispatch, before a whole page of others', async () => {
      const { store, resources } = here;
      await declareWhole(); // or the restoration after a loss of data would find them all
      const ahead = await Promise.all(Array.from({ length: 600 }, () => here.submit({ enqueue: false })));
      for (const job of ahead)
        await store.transition(job.id, { from: ['pending'], to: 'queued', actor: 'test' });
      const back = await here.submit();
      await setStarting(back, 'a');
      await resources.queue.withdraw(back.id);
      await store.transition(back.id, { from: ['starting'], to: 'queued', actor: 'test' });
      const last = ahead
        .map(({ id, position }) => ({ id, position }))
        .sort((x, y) => y.position - x.position)[0];
      assert.ok(last);
      here.dispatcher('a');
      await eventually('it is in the queue again', async () => {
        const missing = await resources.waiting.missing([back.id, last.id]);
        return missing.length === 1 && missing[0] === last.id;
      });
    });
    it('in the intake: entries of jobs that wait no more', async () => {
      const job = await here.submit();
      await here.store.transition(job.id, { from: ['queued'], to: 'cancelled', actor: 'test' });
      await here.resources.waiting.leave(job.id);
      here.dispatcher('a');
      await eventually(
        'the entry is gone',
        async () => (await here.resources.queues.intake.getJob(job.id)) === undefined,
      );
    });
  });

  it('fails the jobs of a host that does not come back, and only then', async () => {
    const host = await here.openHost('a', 2);
    await here.openHost('b', 2);
    await declareWhole();
    const [running, cancelled] = [await here.submit(), await here.submit()];
    for (const job of [running, cancelled]) {
      await reserveFor(job, 'a');
      await setStarting(job, 'a');
      await here.resources.queue.withdraw(job.id);
      await here.resources.semaphore.claim(job.id, 1, 'a', host.generation);
    }
    await here.store.transition(running.id, { from: ['starting'], to: 'running', actor: 'test' });
    await here.store.decideEnding(cancelled.id, 'cancel', 'test');
    await silence('a', HOST_LOST_MS - 5_000);
    here.dispatcher('b', { leaseMs: 1_000 });
    const proof = await here.submit();
    await becomes(proof, 'starting');
    assert.equal(await status(running), 'running');
    await silence('a', 10_000);
    await becomes(running, 'failed');
    assert.equal((await here.row(running.id)).error, 'host_lost');
    await becomes(cancelled, 'cancelled');
    await eventually('its reservations are gone', async () =>
      (await held()).every((one) => one.host !== 'a'),
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
    // Both lead: nobody keeps the lead for longer than a look.
    const steal = setInterval(() => void dropLead(here.resources), 3);
    try {
      here.dispatcher('a');
      here.dispatcher('b', { resources: other });
      const jobs: Job[] = [];
      for (let index = 0; index < 500; index += 1) jobs.push(await here.submit());
      await eventually('all have ended', async () => (await countIn(here.queries, 'completed')) === 500, {
        timeoutMs: 90_000,
      });
      assert.equal(runs.size, 500);
      assert.deepEqual(
        [...runs.values()].filter((times) => times !== 1),
        [],
      );
      await eventually('nothing is held', async () => (await held()).length === 0);
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
    await becomes(await here.submit(), 'starting');
    assert.ok(performance.now() - begun < 3_000);
  });

  describe('when Redis', () => {
    it('is gone for 5 seconds, carries on and loses nothing', async () => {
      const host = await here.openHost('a', 2);
      const runs: string[] = [];
      here.consumer(
        'a',
        here.processor(host, (job) => void runs.push(job.id)),
      );
      here.dispatcher('a');
      const before = await here.submit();
      await becomes(before, 'completed');
      const outage = redis.outage(5_000);
      await eventually('the outage is noticed', () => here.resources.connection.status !== 'ready');
      const during = await here.submit({ enqueue: false });
      await outage;
      await eventually(
        'the host is asked to synchronise',
        async () => (await here.resources.semaphore.beat('a', host.generation)) === 'synchronise',
      );
      assert.match(await status(during), /pending|queued/);
      await here.resources.semaphore.sync('a', host.generation, async () => []);
      const afterwards = await here.submit();
      await becomes(during, 'completed');
      await becomes(afterwards, 'completed');
      assert.deepEqual(runs.sort(), [before.id, during.id, afterwards.id].sort());
    });

    it('does not say whether it was restarted, nothing starts until it does', async () => {
      const { connection } = here.resources;
      const host = await here.openHost('a', 1);
      here.consumer('a', here.processor(host));
      await declareWhole();
      const job = await here.submit();
      await connection.acl('SETUSER', 'default', '-info');
      try {
        here.dispatcher('a');
        await eventually('it was asked again', async () => {
          const log = JSON.stringify(await connection.acl('LOG'));
          return [...log.matchAll(/"count",(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0) > 2;
        });
        assert.equal(await status(job), 'queued');
      } finally {
        await connection.acl('SETUSER', 'default', '+info');
      }
      await becomes(job, 'completed');
    });

    it('lost its data, waits for the hosts and starts jobs in their old order', async () => {
      const host = await here.openHost('a', 1);
      await here.openHost('b', 1);
      await declareWhole();
      const running = await here.submit();
      await reserveFor(running, 'a');
      await setStarting(running, 'a');
      const waiting = [await here.submit(), await here.submit({ priority: 1 }), await here.submit()];
      await here.resources.connection.flushall();
      here.dispatcher('a', { leaseMs: 600_000 });
      await eventually(
        'the rows are back in the queue',
        async () => (await here.resources.waiting.overview()).length === 3,
      );
      await eventually(
        'the hosts are expected',
        async () => (await here.resources.semaphore.view()).hosts.length === 2,
      );
      assert.deepEqual(await here.resources.semaphore.beat('a', host.generation), 'register');

      // The host comes back with what it runs; the other one is awaited.
      await here.openHost('a', 1, 1, [
        {
          jobId: running.id,
          epoch: 1,
          owner: running.owner,
          cpusMilli: 1_000,
          memoryMib: 1_024,
          endsBy: null,
        },
      ]);
      assert.equal((await here.resources.semaphore.view()).whole, false);
      await here.openHost('b', 1);
      const [first, urgent, last] = waiting;
      assert.ok(first && urgent && last);
      await becomes(urgent, 'starting');
      assert.equal((await here.row(urgent.id)).host, 'b');
      assert.deepEqual([await status(first), await status(last)], ['queued', 'queued']);
      assert.equal(await here.resources.waiting.place(first.id), 1);
      assert.equal(await status(running), 'starting');
    });

    it('lost its data, goes on without a host that does not come back in a lease’s time', async () => {
      await here.openHost('a', 1);
      await here.openHost('dead', 1);
      const job = await here.submit();
      await here.resources.connection.flushall();
      await here.openHost('a', 1);
      here.dispatcher('a', { leaseMs: 500 });
      await becomes(job, 'starting');
      assert.equal((await here.row(job.id)).host, 'a');
      assert.equal(
        (await here.resources.queue.capacity()).hosts.find(({ name }) => name === 'dead')?.state,
        'suspect',
      );
    });
  });
});
