import assert from 'node:assert/strict';
import { it } from 'mocha';
import { QueueTimeouts } from '../../queues/queue-timeouts.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Wait } from '../../src/jobs/wait.ts';
import { eventually } from '../support/eventually.ts';
import { describeQueues } from './describe-queues.ts';

const NO_ROOM = /^Waiting for 2 cpus and 2 GB: a has 0 cpus and 0 GB free\. /;

describeQueues('what a waiting job is told', (here) => {
  const wait = async (job: Job): Promise<Wait | undefined> =>
    (await here.resources.queue.waits([await here.row(job.id)]))[0];
  const told = (job: Job, reason: RegExp) =>
    eventually(`the reason matches ${reason.source}`, async () => {
      const now = await wait(job);
      return now && reason.test(now.reason) ? now : null;
    });
  const entries = async (job: Job) =>
    (await here.journal.read({ jobId: job.id, limit: 100 })).filter((event) => event.type === 'waiting');
  const large = { cpus: 2, memoryGb: 2 } as const;
  /** A job that holds all of host `a`. */
  const occupy = async (): Promise<Job> => {
    await here.openHost('a', 2);
    here.dispatcher('a');
    const job = await here.submit(large);
    await eventually('it is dispatched', async () => (await here.row(job.id)).status === 'starting');
    return job;
  };

  it('is a place, a reason and a latest start, for the first and for the last alike', async () => {
    const first = await occupy();
    const [own] = (await here.resources.semaphore.view()).reservations;
    assert.equal(own?.jobId, first.id);
    const jobs: Job[] = [];
    for (let index = 0; index < 150; index += 1) jobs.push(await here.submit(large));
    const [next, last] = [jobs[0], jobs.at(-1)];
    assert.ok(next && last);
    const estimated = (job: Job) =>
      eventually('it has an estimate', async () => {
        const now = await wait(job);
        return now && now.latestStart !== null ? now : null;
      });
    const soon = await estimated(next);
    assert.match(soon.reason, NO_ROOM);
    assert.deepEqual([soon.position, soon.latestStart], [1, own.endsBy]);
    // 149 jobs of a minute each are ahead of it, one after the other. An outlook made before all of them were there
    // knows less.
    const runMs = 60_000;
    const latest = (own.endsBy ?? 0) + 160 * runMs;
    const late = await eventually('its estimate is that of the whole queue', async () => {
      const now = await wait(last);
      return now?.latestStart && now.latestStart <= latest ? now : null;
    });
    assert.equal(late.position, 150);
    assert.match(late.reason, NO_ROOM);
    assert.match(late.reason, /149 jobs are ahead\.$/);
    assert.ok((late.latestStart ?? 0) >= (own.endsBy ?? Infinity) + 149 * runMs);
  });

  it('is written to the row and the journal of the first, once for each kind of reason', async () => {
    await occupy();
    const job = await here.submit(large);
    await eventually('the row says why', async () =>
      NO_ROOM.test((await here.row(job.id)).waitingReason ?? ''),
    );
    await here.submit({ ...large, priority: 1 });
    await eventually('the row says that one is ahead', async () =>
      /1 job is ahead/.test((await here.row(job.id)).waitingReason ?? ''),
    );
    await here.hosts.setDraining('a', true);
    await here.resources.semaphore.drain('a', true);
    await eventually('the row says the new reason', async () =>
      /a is draining/.test((await here.row(job.id)).waitingReason ?? ''),
    );
    const found = await entries(job);
    assert.deepEqual(
      found.map(({ payload }) => [payload['status'], payload['why']]),
      [
        ['queued', 'no_room'],
        ['queued', 'too_large'],
      ],
    );
    assert.match(String(found[0]?.payload['reason']), NO_ROOM);
    const all = await here.journal.read({ jobId: job.id, limit: 100 });
    assert.deepEqual(
      all.map(({ seq }) => seq),
      all.map((_, index) => index + 1),
    );
  });

  it('leaves no entry in the journal of a job that starts at once', async () => {
    const job = await occupy();
    assert.deepEqual(await entries(job), []);
  });

  it('is that nothing starts, while no worker is up', async () => {
    const job = await here.submit();
    assert.deepEqual(await wait(job), {
      position: 1,
      reason: 'No worker is running, so no job can start now. It is next.',
      latestStart: null,
    });
  });

  it('is that the queue is being restored, while hosts are awaited after a loss of data', async () => {
    await here.openHost('a', 2);
    const job = await here.submit();
    await here.resources.connection.flushall();
    here.dispatcher('a', { leaseMs: 600_000 });
    const now = await told(job, /being restored/);
    assert.match(now.reason, /starts go on once a has said what runs there\.( It is next\.)?$/);
  });

  it('ends with queue_timeout, whose reason stands in row and journal', async () => {
    await occupy();
    const job = await here.submit({ ...large, maxQueueSeconds: 2 });
    await told(job, NO_ROOM);
    await eventually('it has failed', async () => (await here.row(job.id)).status === 'failed');
    const row = await here.row(job.id);
    assert.equal(row.error, 'queue_timeout');
    assert.match(
      row.errorMessage ?? '',
      /^The job did not start within 2 seconds\. Last reason: Waiting for 2 cpus/,
    );
    const last = (await here.journal.read({ jobId: job.id, limit: 100 })).at(-1);
    assert.ok(last?.type === 'failed_to_start');
    assert.equal(last.payload.reason, 'queue_timeout');
    assert.match(String(last.payload.waiting_reason), NO_ROOM);
    await eventually(
      'the queue has given it up',
      async () => (await here.resources.waiting.place(job.id)) === null,
    );
  });

  it('ends with queue_timeout also while no worker is up, and once, however many look', async () => {
    const jobs = [];
    for (let index = 0; index < 5; index += 1) jobs.push(await here.submit({ maxQueueSeconds: 1 }));
    const kept = await here.submit({ maxQueueSeconds: 600 });
    const stops = [1, 2].map(() => new QueueTimeouts(here).every(20));
    try {
      for (const job of jobs) {
        await eventually('it has failed', async () => (await here.row(job.id)).status === 'failed');
        const ends = (await here.journal.read({ jobId: job.id, limit: 100 })).filter(
          ({ payload }) => payload['status'] === 'failed',
        );
        assert.equal(ends.length, 1);
      }
    } finally {
      for (const stop of stops) await stop();
    }
    assert.equal((await here.row(kept.id)).status, 'queued');
    assert.equal(await here.resources.waiting.place(kept.id), 1);
  });
});
