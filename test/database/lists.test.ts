import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { join } from 'node:path';
import { Database } from '../../src/database/database.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import type { JobFilter } from '../../src/jobs/queries.ts';
import { ACTIVE_STATES } from '../../src/jobs/states.ts';
import { into, newJob } from '../support/jobs.ts';
import { scratch } from '../support/scratch.ts';

const ALL: JobFilter = { owner: null, states: null, type: null, label: null, limit: 4, beforePosition: null };

describe('lists of jobs', () => {
  const directory = scratch();
  let database: Database;
  let queries: JobStores['queries'];
  /** In the order of their positions; every third one is queued, every fifth one has ended. */
  const ids: string[] = [];
  before(async () => {
    database = await Database.open({ path: join(await directory.make(), 'db') });
    const stores = jobStores(database);
    const { store } = stores;
    queries = stores.queries;
    for (let index = 0; index < 30; index += 1) {
      const { job } = await store.create(newJob({}, { owner: index % 2 === 0 ? 'even' : 'odd' }));
      ids.push(job.id);
      if (index % 3 === 0)
        await store.transition(job.id, { from: ['pending'], ...into('queued'), actor: 'test' });
      if (index % 5 === 0)
        await store.transition(job.id, { from: ['pending', 'queued'], ...into('cancelled'), actor: 'test' });
    }
  });
  after(() => database.close());

  const pages = async (filter: JobFilter): Promise<string[]> => {
    const found: string[] = [];
    let beforePosition: number | null = null;
    for (;;) {
      const { jobs } = await queries.list({ ...filter, beforePosition });
      found.push(...jobs.map(({ id }) => id));
      const last = jobs.at(-1);
      if (!last) return found;
      beforePosition = last.position;
    }
  };

  it('hold the jobs of several states once each, newest first, and their number', async () => {
    const active = ids.filter((_, index) => index % 5 !== 0);
    assert.deepEqual(await pages({ ...ALL, states: ACTIVE_STATES }), [...active].reverse());
    assert.equal((await queries.list({ ...ALL, states: ACTIVE_STATES })).total, active.length);
    const own = ids.filter((_, index) => index % 5 !== 0 && index % 2 === 0);
    assert.deepEqual(await pages({ ...ALL, owner: 'even', states: ACTIVE_STATES }), [...own].reverse());
    assert.deepEqual(await pages(ALL), [...ids].reverse());
    assert.equal((await queries.list({ ...ALL, type: 'agent' })).total, 0);
  });

  it('find a job by its name, or the beginning of its id', async () => {
    const [first = ''] = ids;
    const found = async (find: string) => (await queries.list({ ...ALL, find })).jobs.map(({ id }) => id);
    assert.deepEqual(await found(first), [first]);
    assert.deepEqual(await found(first.slice(4, 12)), [first]);
    assert.equal((await queries.list({ ...ALL, find: 'job_' })).total, 0);
    assert.deepEqual(await found('no such job'), []);
  });

  it('hold the first of each owner in turn, those of a host in front, and count all', async () => {
    const turns = (filter: Partial<JobFilter>) => queries.turns({ ...ALL, limit: 3, ...filter });
    const waiting = ids.filter((_, index) => index % 5 !== 0);
    const all = await turns({ states: ACTIVE_STATES });
    assert.equal(all.total, waiting.length);
    assert.deepEqual(all.jobs.map(({ owner }) => owner).sort(), [
      'even',
      'even',
      'even',
      'odd',
      'odd',
      'odd',
    ]);
    const own = ids.filter((_, index) => index % 5 !== 0 && index % 2 === 1);
    assert.deepEqual(
      (await turns({ owner: 'odd' })).jobs.map(({ id }) => id),
      own.slice(0, 3),
    );
  });

  it('hold what waits in its order, whether it is in the queue already or not', async () => {
    const found: string[] = [];
    for (let position = 0; ;) {
      const jobs = await queries.waiting(position, 4);
      found.push(...jobs.map(({ id }) => id));
      const last = jobs.at(-1);
      if (!last) break;
      position = last.position;
    }
    assert.deepEqual(
      found,
      ids.filter((_, index) => index % 5 !== 0),
    );
  });

  it('are read from an index in its order, however long the queue', async () => {
    const asked: { sql: string; bindings: unknown[] }[] = [];
    const note = (query: { sql: string; bindings: unknown[] }): void => void asked.push(query);
    database.knex.on('query', note);
    await queries.list({ ...ALL, states: ACTIVE_STATES });
    await queries.list({ ...ALL, owner: 'even' });
    await queries.list({ ...ALL, owner: 'even', states: ACTIVE_STATES, type: 'worker', beforePosition: 9 });
    await queries.waiting(3, 4);
    database.knex.off('query', note);
    assert.ok(asked.length >= 10);
    for (const { sql, bindings } of asked.filter((query) => query.sql.startsWith('select'))) {
      const plan = await database.knex.raw<{ detail: string }[]>(
        `explain query plan ${sql}`,
        bindings as string[],
      );
      const text = plan.map(({ detail }) => detail).join('; ');
      assert.ok(/USING (COVERING )?INDEX|INTEGER PRIMARY KEY/.test(text), `${sql}: ${text}`);
      assert.ok(!text.includes('TEMP B-TREE'), `${sql}: ${text}`);
      if (/count\(/.test(sql)) assert.ok(text.includes('COVERING'), `${sql}: ${text}`);
    }
  });
});
