/**
 * Dispatchers that die, hang and contradict each other, over jobs that last 10 ms: by the time a dispatcher has done
 * its next step, the job may long be over. Real processes, Redis and database; {@link ShortHost} instead of containers.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import type { Job } from '../../src/jobs/job.ts';
import { Installation, LEASE_MS } from '../queues/installation.ts';
import { eventually } from '../support/eventually.ts';
import { countIn, into } from '../support/jobs.ts';
import { seeded } from '../support/random.ts';
import { TestRedis } from '../support/redis.ts';
import { SEED } from '../support/seed.ts';
import { DISPATCH_STEPS, type Step, watchSteps } from './dispatch-steps.ts';
import type { DispatcherOrder } from './fixtures/dispatcher.ts';
import { peakOf, type Run, ShortHost } from './short-host.ts';
import { ageReservation, dropLead, hostKey, leaderKey, silenceHost } from '../support/redis-state.ts';

const FIXTURE = fileURLToPath(new URL('fixtures/dispatcher.ts', import.meta.url));
const HOSTS = ['a', 'b'];
const CPUS = 8;

describe('dispatchers that fail', function () {
  this.timeout(240_000);
  let redis: TestRedis;
  let here: Installation;
  let hosts: ShortHost[];
  let children: ChildProcess[];
  const runs: Run[] = [];

  before(async () => {
    redis = await TestRedis.start();
  });
  after(() => redis.stop());
  beforeEach(async () => {
    here = await Installation.open(redis);
    runs.length = 0;
    hosts = [];
    children = [];
  });
  afterEach(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    for (const host of hosts) await host.stop();
    await here.close();
  });

  const openHosts = async (names = HOSTS, jobMs = 10): Promise<void> => {
    await Promise.all(
      names.map(async (name) => {
        const { resources, store, queries, hosts: registry } = here;
        const options = { name, cpus: CPUS, resources, store, queries, hosts: registry, leaseMs: LEASE_MS };
        hosts.push(await ShortHost.open({ ...options, runs, jobMs }));
      }),
    );
  };
  const dispatcher = async (host: string, order: Partial<DispatcherOrder> = {}): Promise<ChildProcess> => {
    const whole = { ...here.address, host, hostLostMs: 60_000, leaseMs: 2_000, ...order };
    const child = spawn(process.execPath, [FIXTURE, JSON.stringify(whole)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    await once(child.stdout, 'data');
    return child;
  };
  const submit = async (count: number, random = seeded(1)): Promise<Job[]> => {
    const jobs: Job[] = [];
    for (let index = 0; index < count; index += 1) {
      const cpus = 1 + Math.floor(random() * 4);
      jobs.push(await here.submit({ cpus, priority: 1 + Math.floor(random() * 10) }));
    }
    return jobs;
  };
  const isCompleted = async (job: Job): Promise<boolean> => (await status(job)) === 'completed';
  const over = async (jobs: readonly Job[], isOver: (job: Job) => Promise<boolean>): Promise<number> =>
    (await Promise.all(jobs.map(isOver))).filter(Boolean).length;
  const died = async (child: ChildProcess): Promise<void> => {
    if (child.signalCode === null) await once(child, 'exit');
    assert.equal(child.signalCode, 'SIGKILL');
  };

  /** Resolves when the process has stopped itself. */
  const stopped = (child: ChildProcess): Promise<unknown> =>
    eventually('the dispatcher has stopped itself', () =>
      / T /.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8')),
    );
  /** A host without a process, as the queue sees it. */
  const openSilentHost = async (name: string): Promise<void> => {
    await here.openHost(name, CPUS);
    await here.resources.semaphore.restoring('t');
    await here.resources.semaphore.found('t');
  };
  /** Until the leader has looked this many times more by the clock; each time it sweeps, then tells of it. */
  const looks = async (times: number): Promise<void> => {
    const seen = new Set<number>();
    await eventually(`it has looked ${times} times`, async () => {
      const outlook = await here.resources.outlook.read().catch(() => null);
      if (outlook) seen.add(outlook.at);
      return seen.size > times;
    });
  };
  /** In the database too, from which reconciliation puts it right. */
  const drain = async (name: string): Promise<void> => {
    await here.hosts.setDraining(name, true);
    await here.resources.semaphore.drain(name, true);
  };
  /** As if the host had not been heard of for this time. */
  const silence = (name: string, ms: number): Promise<number> => silenceHost(here.resources, name, ms);
  const status = async (job: Job): Promise<string> => (await here.row(job.id)).status;
  /** Dispatched to the host, and then nothing happened for a while. */
  const strand = async (job: Job, host: string): Promise<void> => {
    const { semaphore, queue } = here.resources;
    const amount = { owner: job.owner, cpusMilli: job.cpus * 1_000, memoryMib: job.memoryGb * 1_024 };
    await semaphore.reserve({ jobId: job.id, epoch: 1, host, ...amount, endsBy: null, ticket: 't' });
    const patch = { host, epoch: 1, startingAt: Date.now() };
    await here.store.transition(job.id, { from: ['queued'], ...into('starting'), patch, actor: 'test' });
    await queue.withdraw(job.id);
    await ageReservation(here.resources, job.id);
  };

  /** However slow the machine is, as long as jobs go on ending. */
  const allEnd = async (count: number): Promise<void> => {
    for (let before = -1; before !== count;) {
      const { ended } = await eventually('more jobs have ended', async () => {
        const now = await countIn(here.queries, 'completed');
        return now === count || now > before ? { ended: now } : null;
      });
      before = ended;
    }
  };

  /** All that must hold afterwards: every job once and well, no host over its capacity, and nothing left in Redis. */
  const sums = async (jobs: readonly Job[]): Promise<void> => {
    await allEnd(jobs.length);
    const times = new Map<string, number>();
    for (const { jobId } of runs) times.set(jobId, (times.get(jobId) ?? 0) + 1);
    assert.deepEqual(
      jobs.filter((job) => times.get(job.id) !== 1).map((job) => [job.id, times.get(job.id) ?? 0]),
      [],
      'each job ran once',
    );
    assert.equal(runs.length, jobs.length);
    const ends = (await here.journal.read({ limit: 1_000_000 })).filter(
      (event) => event.payload['status'] === 'completed',
    );
    assert.equal(ends.length, jobs.length, 'each job became terminal once');
    for (const name of HOSTS) assert.ok(peakOf(runs, name) <= CPUS, `${name} ran ${peakOf(runs, name)} cpus`);
    const { semaphore, waiting, queues } = here.resources;
    await eventually('nothing is held', async () => (await semaphore.view()).reservations.length === 0);
    assert.deepEqual(await semaphore.audit(), []);
    await eventually(
      'nothing waits',
      async () => (await waiting.overview()).length === 0 && (await queues.intake.count()) === 0,
    );
    for (const name of HOSTS) {
      await eventually(`nothing is on its way to ${name}`, async () => {
        const counts = await queues.run(name).getJobCounts('waiting', 'active', 'delayed', 'prioritized');
        return Object.values(counts).every((count) => count === 0);
      });
    }
  };

  it('takes every step of a dispatch in its order: out of the queue before the host can have it', async () => {
    await openHosts();
    const steps = new Map<string, Step[]>();
    watchSteps(here.resources, here.store, (step, jobId) => {
      if ((DISPATCH_STEPS as readonly Step[]).includes(step))
        steps.set(jobId, [...(steps.get(jobId) ?? []), step]);
    });
    here.dispatcher('a');
    const jobs = await submit(20);
    await sums(jobs);
    // A finished job is announced once more.
    for (const job of jobs)
      assert.deepEqual(steps.get(job.id)?.slice(0, DISPATCH_STEPS.length), [...DISPATCH_STEPS]);
  });

  for (const step of DISPATCH_STEPS) {
    it(`killed right after a job is ${step}, leaves nothing that its successor does not finish`, async () => {
      await openHosts();
      const jobs = await submit(40);
      // Sixteen are under way at once, so each of these deaths interrupts dispatches at many steps.
      for (const time of [1, 9]) await died(await dispatcher('a', { kill: { after: step, time } }));
      await dispatcher('a');
      await sums(jobs);
    });
  }

  for (const step of ['revoked', 'put back', 'enqueued'] as const satisfies Step[]) {
    it(`a sweeper killed right after a dispatch to a silent host is ${step}: the next one finishes it`, async () => {
      await openSilentHost('silent');
      const jobs = await Promise.all(Array.from({ length: 4 }, () => here.submit()));
      for (const job of jobs) await strand(job, 'silent');
      await silence('silent', LEASE_MS + 1_000);
      await openHosts();
      await died(await dispatcher('a', { kill: { after: step, time: 2 } }));
      await dispatcher('a');
      const isOver = async (job: Job): Promise<boolean> => /completed|failed/.test(await status(job));
      // Between the first two steps nobody can know that the host had not begun it: it waits for the host.
      await eventually('all but it have ended', async () => (await over(jobs, isOver)) >= jobs.length - 1);
      await silence('silent', 60_000);
      await eventually('all have ended', async () => (await over(jobs, isOver)) === jobs.length);
      const rows = await Promise.all(jobs.map((job) => here.row(job.id)));
      const lost = rows.filter((row) => row.status === 'failed');
      assert.deepEqual(
        lost.map((row) => row.error),
        step === 'revoked' ? ['host_lost'] : [],
      );
      await sums(jobs.filter((job) => !lost.some((row) => row.id === job.id)));
    });
  }

  for (const step of ['host given up', 'ending decided', 'ended'] as const satisfies Step[]) {
    it(`a sweeper killed right after “${step}” while it gives a host up: the next one ends the rest, once`, async () => {
      await openSilentHost('silent');
      const { generation } = await here.openHost('silent', CPUS);
      const jobs = await Promise.all(Array.from({ length: 4 }, () => here.submit()));
      for (const job of jobs) {
        await strand(job, 'silent');
        await here.resources.semaphore.claim(job.id, 1, 'silent', generation);
      }
      await here.store.decideEnding(jobs[3]?.id ?? '', 'cancel', 'test');
      await silence('silent', 61_000);
      await died(await dispatcher('a', { kill: { after: step, time: step === 'host given up' ? 1 : 2 } }));
      await dispatcher('a');
      await eventually('all have ended', async () => {
        const states = await Promise.all(jobs.map(status));
        return states.join() === 'failed,failed,failed,cancelled';
      });
      for (const job of jobs) {
        const events = await here.journal.read({ jobId: job.id, limit: 100 });
        const ends = events.filter((event) => /failed|cancelled/.test(String(event.payload['status'])));
        assert.equal(ends.length, 1);
      }
      await sums([]);
    });
  }

  it('stopped in the middle of a dispatch until others have led, and then continued, starts nothing twice', async () => {
    await openHosts();
    const jobs = await submit(60);
    const frozen: ChildProcess[] = [];
    for (const step of ['reserved', 'taken', 'withdrawn', 'added'] as const) {
      const child = await dispatcher(step, { kill: { after: step, time: 3, signal: 'SIGSTOP' } });
      frozen.push(child);
      await stopped(child);
      // The last one is waited for until its lead has ended by itself.
      if (step !== 'added') await dropLead(here.resources);
      jobs.push(...(await submit(20, seeded(frozen.length))));
    }
    await dispatcher('a');
    await eventually('the others have led', async () => (await over(jobs, isCompleted)) > 100);
    jobs.push(...(await submit(40, seeded(9))));
    for (const child of frozen) child.kill('SIGCONT');
    await sums(jobs);
  });

  it('two that both restore what Redis has lost, again and again, while jobs start and end', async () => {
    const random = seeded(SEED);
    await openHosts();
    await Promise.all(
      HOSTS.map((name, index) =>
        dispatcher(name, { pauses: { seed: SEED + index, short: 0.1, long: 0 }, leaseMs: 1_000 }),
      ),
    );
    const steal = setInterval(() => void dropLead(here.resources), 3);
    try {
      const jobs = await submit(300, random);
      for (let time = 0; time < 6; time += 1) {
        const done = await over(jobs, isCompleted);
        await here.resources.connection.flushall();
        jobs.push(...(await submit(10, random)));
        const goOn = Math.min(jobs.length, done + 1 + Math.floor(random() * 40));
        await eventually('jobs end again', async () => (await over(jobs, isCompleted)) >= goOn);
      }
      await sums(jobs);
    } finally {
      clearInterval(steal);
    }
  });

  it('take nothing away from a host whose claims a restarted Redis may have lost', async () => {
    await openSilentHost('silent');
    const { generation } = await here.openHost('silent', CPUS);
    const job = await here.submit();
    await strand(job, 'silent');
    await here.resources.connection.hset(hostKey(here.resources.keys, 'silent'), 'synchronised', 0);
    await silence('silent', LEASE_MS + 1_000);
    await openHosts();
    await dispatcher('a');
    const others = await submit(5);
    for (const other of others) await eventually('it has ended', () => isCompleted(other));
    await looks(3);
    const row = await here.row(job.id);
    assert.deepEqual([row.status, row.host, row.epoch], ['starting', 'silent', 1]);
    // The host comes back with what it runs, and that counts as claimed.
    const hold = { cpusMilli: 1_000, memoryMib: 1_024, endsBy: null, owner: job.owner };
    await here.resources.semaphore.sync('silent', generation, () =>
      Promise.resolve([{ jobId: job.id, epoch: 1, ...hold }]),
    );
    const { reservations } = await here.resources.semaphore.view();
    assert.deepEqual(
      reservations.map(({ jobId, epoch, claimed }) => [jobId, epoch, claimed]),
      [[job.id, 1, true]],
    );
  });

  it('do not take a host for lost that could not be heard while Redis was away', async () => {
    await openSilentHost('silent');
    const { generation } = await here.openHost('silent', CPUS);
    const job = await here.submit();
    await strand(job, 'silent');
    await here.resources.semaphore.claim(job.id, 1, 'silent', generation);
    await drain('silent');
    await openHosts();
    await dispatcher('a', { hostLostMs: 3_000 });
    for (const early of await submit(5)) await eventually('it has ended', () => isCompleted(early));
    await redis.outage(3_500);
    await eventually('Redis is back', () => here.resources.connection.status === 'ready');
    await looks(1); // the host is late: the dispatcher looks before it is heard
    const hold = { cpusMilli: 1_000, memoryMib: 1_024, endsBy: null, owner: job.owner };
    await here.resources.semaphore.sync('silent', generation, () =>
      Promise.resolve([{ jobId: job.id, epoch: 1, ...hold }]),
    );
    const beat = setInterval(
      () => void here.resources.semaphore.beat('silent', generation).catch(() => undefined),
      300,
    );
    try {
      await submit(5);
      await looks(4);
      assert.equal(await status(job), 'starting');
    } finally {
      clearInterval(beat);
    }
    // And then it does fall silent.
    await eventually('it is lost', async () => (await here.row(job.id)).error === 'host_lost');
  });

  it('whose clock is an hour behind that of the rows, and a Redis whose clock was set back by an hour', async () => {
    const hour = 3_600_000;
    await openHosts();
    const first = await dispatcher('a', { clockMs: -hour });
    const early = await submit(20);
    await sums(early);
    early.push(await here.submit({ enqueue: false }));
    await sums(early);
    // A leader that died just before the clock went back, a host that is on its way, a dispatch left behind.
    first.kill('SIGKILL');
    await once(first, 'exit');
    const { connection, keys } = here.resources;
    await connection.pexpireat(leaderKey(keys), Date.now() + hour);
    await openSilentHost('gone');
    await drain('gone');
    const stranded = await here.submit();
    const amount = { cpusMilli: 1_000, memoryMib: 1_024, owner: stranded.owner };
    await here.resources.semaphore.reserve({
      jobId: stranded.id,
      epoch: 1,
      host: 'a',
      ...amount,
      endsBy: null,
      ticket: 'of a dispatcher that died',
    });
    await ageReservation(here.resources, stranded.id, -hour);
    for (const name of [...HOSTS, 'gone']) await silence(name, -hour);
    await dispatcher('b', { clockMs: -hour });
    const late = await submit(20);
    await sums([...early, stranded, ...late]);
    const { hosts: known } = await here.resources.semaphore.view();
    for (const { name, leaseLive } of known) assert.equal(leaseLive, true, name);
    await silence('gone', LEASE_MS + 1_000);
    assert.equal(
      (await here.resources.semaphore.view()).hosts.find(({ name }) => name === 'gone')?.leaseLive,
      false,
    );
  });

  it('two that both lead, with pauses between all their steps: of 2,000 jobs none runs twice', async () => {
    await openHosts();
    const pauses = { short: 0.1, long: 0.002 };
    await Promise.all(
      HOSTS.map((name, index) => dispatcher(name, { pauses: { ...pauses, seed: SEED + index } })),
    );
    // Nobody keeps the lead for longer than a look.
    const steal = setInterval(() => void dropLead(here.resources), 3);
    try {
      await sums(await submit(2_000, seeded(SEED)));
    } finally {
      clearInterval(steal);
    }
  });
});
