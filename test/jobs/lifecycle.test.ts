import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { Database } from '../../src/database/database.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { JobLifecycle } from '../../src/jobs/lifecycle.ts';
import { JOB_STATES } from '../../src/jobs/states.ts';
import { newJob } from '../support/jobs.ts';
import { scratch } from '../support/scratch.ts';

const FAILURE = { code: 'host_lost', message: 'The host h did not come back.' } as const;
const ENDING = {
  to: 'completed',
  facts: {
    error: null,
    errorCode: null,
    errorMessage: null,
    exitCode: 0,
    usage: null,
    warnings: [],
    artifactWarnings: [],
    errorLines: [],
    logTruncated: false,
    endedAt: 1,
  },
  artifacts: [],
} as const;

type Step = (lifecycle: JobLifecycle, job: Job) => Promise<unknown>;
/** The states that each step leads out of, and where to. */
const STEPS: Readonly<Record<string, { step: Step; from: readonly string[]; to: string }>> = {
  queued: { step: (life, { id }) => life.queued(id, 'test'), from: ['pending'], to: 'queued' },
  taken: { step: (life, job) => life.taken(job, 'h', 'test'), from: ['queued'], to: 'starting' },
  given_back: {
    step: (life, job) => life.givenBack(job, 'unclaimed', 'test'),
    from: ['starting'],
    to: 'queued',
  },
  started: {
    step: (life, job) => life.started(job, { startedAt: 1, imageDigest: null, ranBy: null }, 'test'),
    from: ['starting'],
    to: 'running',
  },
  cancelled: {
    step: (life, { id }) => life.cancelled(id, 'test'),
    from: ['pending', 'queued'],
    to: 'cancelled',
  },
  failed_to_start: {
    step: (life, { id }) =>
      life.failedToStart(id, null, { reason: 'queue_timeout', errorMessage: 'late' }, 'test'),
    from: ['pending', 'queued'],
    to: 'failed',
  },
  lost: { step: (life, job) => life.lost(job, FAILURE, 'test'), from: ['starting', 'running'], to: 'failed' },
  cleaned: { step: (life, { id }) => life.cleaned(id, 'test'), from: ['cleaning'], to: 'cleaned' },
};

describe('the life of a job', () => {
  const directory = scratch();
  let database: Database;
  let stores: JobStores;
  before(async () => {
    database = await Database.open({ path: join(await directory.make(), 'db') });
    stores = jobStores(database);
  });
  after(() => database.close());

  const make = async (status: string): Promise<Job> => {
    const { job } = await stores.lifecycle.accepted(newJob());
    await database.knex('jobs').where({ id: job.id }).update({ status, epoch: 3 });
    return { ...job, status: status as Job['status'], epoch: 3 };
  };
  const lastOf = async ({ id }: Job) => (await stores.journal.read({ jobId: id, limit: 100 })).at(-1);

  for (const [type, { step, from, to }] of Object.entries(STEPS)) {
    it(`has the step ${type}, out of its states alone, with one event`, async () => {
      for (const status of JOB_STATES) {
        const job = await make(status);
        const applied = await step(stores.lifecycle, job);
        const now = await stores.queries.get(job.id);
        const event = await lastOf(job);
        assert.deepEqual(
          [applied !== null, now?.status, event?.type, event?.seq, event?.payload.status],
          from.includes(status) ? [true, to, type, 2, to] : [false, status, 'accepted', 1, 'pending'],
          status,
        );
      }
    });
  }

  it('ends with what its host writes, and never shows a result of a process while it was starting', async () => {
    const running = await make('running');
    assert.equal((await stores.lifecycle.ended(running, ENDING, 'test'))?.status, 'completed');
    const starting = await make('starting');
    assert.equal((await stores.lifecycle.ended(starting, ENDING, 'test'))?.status, 'failed');
    assert.equal((await lastOf(starting))?.type, 'ended');
  });
});
