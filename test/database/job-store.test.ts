import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import BetterSqlite from 'better-sqlite3';
import { after, before, describe, it } from 'mocha';
import { Database } from '../../src/database/database.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import { KnexTenantStore } from '../../src/database/tenant-store.ts';
import { KnexUploadStore } from '../../src/database/upload-store.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { newUploadId } from '../../src/ids.ts';
import { makeRunning } from '../api/job-states.ts';
import { into, newJob } from '../support/jobs.ts';
import { scratch } from '../support/scratch.ts';

describe('the job store', () => {
  const dir = scratch();
  let database: Database;
  let second: Database;
  let store: JobStores['store'];
  let queries: JobStores['queries'];
  let journal: JobStores['journal'];
  let rival: JobStores['store'];
  let uploads: KnexUploadStore;

  before(async () => {
    await dir.make();
    const path = dir.path('flashpods.db');
    // Two connections, as two processes have them; opened at once, so that both want to migrate.
    [database, second] = await Promise.all([Database.open({ path }), Database.open({ path })]);
    ({ store, queries, journal } = jobStores(database));
    rival = jobStores(second).store;
    uploads = new KnexUploadStore(database);
  });
  after(async () => {
    await database.close();
    await second.close();
  });

  const upload = async (): Promise<string> => {
    const id = newUploadId();
    await uploads.create({ id, owner: 'default', expiresAt: Date.now() + 60_000 });
    await uploads.finalize(id, {
      sizeBytes: 1,
      fileCount: 1,
      expiresAt: Date.now() + 60_000,
      reusable: false,
    });
    return id;
  };

  it('makes one row of 20 identical creations at the same moment from two processes', async () => {
    const clientJobId = randomUUID();
    const filesId = await upload();
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 ? rival : store).create(newJob({ files_id: filesId }, { clientJobId })),
      ),
    );
    assert.equal(results.filter((result) => result.created).length, 1);
    assert.equal(new Set(results.map((result) => result.job.id)).size, 1);
  });

  it('gives an upload to one job only', async () => {
    const filesId = await upload();
    const results = await Promise.allSettled(
      [store, rival, store].map((each) => each.create(newJob({ files_id: filesId }))),
    );
    assert.equal(results.filter((result) => result.status === 'fulfilled').length, 1);
    for (const result of results)
      if (result.status === 'rejected') assert.match(String(result.reason), /belongs to another job/);
  });

  it('lets no more of an owner’s jobs wait than it may, of 50 at the same moment from two processes', async () => {
    const owner = 'limited';
    const create = (index: number) =>
      (index % 2 ? rival : store).create(newJob({}, { owner }), { maxWaiting: 10 });
    const results = await Promise.allSettled(Array.from({ length: 50 }, (_, index) => create(index)));
    const made = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value.job] : []));
    assert.equal(made.length, 10);
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      assert.ok(result.reason instanceof FlashpodsError);
      assert.deepEqual(result.reason.details, {
        dimension: 'queued_jobs',
        limit: 10,
        used: 10,
        requested: 1,
      });
    }
    // One starts: there is room for one.
    const [first] = made;
    assert.ok(first);
    await store.transition(first.id, { from: ['pending'], ...into('queued'), actor: 'test' });
    await assert.rejects(create(0), FlashpodsError);
    await store.transition(first.id, { from: ['queued'], ...into('starting'), actor: 'test' });
    await create(0);
    await assert.rejects(create(1), FlashpodsError);
    // Others have limits of their own.
    await store.create(newJob({}, { owner: 'another' }), { maxWaiting: 1 });
  });

  it('keeps no more for an owner than it may, of jobs that end at the same moment, and says what it does not keep', async () => {
    const owner = 'keeping';
    const mb = 2 ** 20;
    const [mine, theirs] = [jobStores(database, { keptMb: 3 }).store, jobStores(second, { keptMb: 3 }).store];
    const file = { name: 'a', sizeBytes: mb, sha256: '0'.repeat(64), createdAt: 1 };
    const running = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const { job } = await store.create(newJob({ keep_hours: 48 }, { owner }));
        return makeRunning(store, job.id);
      }),
    );
    const end = (id: string, index: number) =>
      (index % 2 ? theirs : mine).transition(id, {
        ...{ from: ['running'], ...into('completed'), artifacts: [file], actor: 'test' },
        patch: { completedAt: 1_000 + Date.now() },
      });
    const ended = await Promise.all(running.map(({ id }, index) => end(id, index)));
    const kept = ended.filter((job) => job?.keptUntil === (job?.completedAt ?? 0) + 48 * 3_600_000);
    assert.equal(kept.length, 3);
    const others = ended.filter((job) => job?.keptUntil === null);
    assert.equal(others.length, 3);
    for (const job of others)
      assert.match(job?.warnings.join() ?? '', /not for 48 hours: .* 3 MB are in use/);
    assert.equal((await queries.keptBytes(owner, Date.now())).get(owner), 3 * mb);
    assert.deepEqual(await queries.keptBytes(owner, Date.now() + 49 * 3_600_000), new Map());
    // What is deleted no longer counts, and what an admin set goes before the setting.
    const [first] = kept;
    assert.ok(first);
    await store.patch(first.id, first.epoch, { artifactsDeletedAt: 1 });
    assert.equal((await queries.keptBytes(null, Date.now())).get(owner), 2 * mb);
    await new KnexTenantStore(database).set({ owner, weight: 1, limits: { keptMb: null } }, 'test');
    for (const [index, id] of (
      await Promise.all(
        [0, 1].map(async () => (await store.create(newJob({ keep_hours: 1 }, { owner }))).job.id),
      )
    ).entries()) {
      await makeRunning(store, id);
      assert.notEqual((await end(id, index))?.keptUntil, null);
    }
  });

  it('orders jobs as they came, though the clock was set back between them', async () => {
    const now = Date.now.bind(Date);
    const { job: first } = await store.create(newJob());
    try {
      Date.now = () => now() - 3_600_000;
      const { job: second } = await rival.create(newJob());
      const { job: third } = await store.create(newJob());
      assert.ok(second.createdAt < first.createdAt);
      assert.deepEqual([second.orderedAt, third.orderedAt], [first.orderedAt, first.orderedAt]);
      assert.equal((await queries.get(second.id))?.orderedAt, first.orderedAt);
    } finally {
      Date.now = now;
    }
    const { job: later } = await store.create(newJob());
    assert.equal(later.orderedAt, later.createdAt);
  });

  it('lets exactly one of two rivals make a transition, and journals it without gaps', async () => {
    const { job } = await store.create(newJob());
    await store.transition(job.id, { from: ['pending'], ...into('queued'), actor: 'test' });
    const results = await Promise.all(
      [store, rival, store, rival].map((each, index) =>
        each.transition(job.id, {
          from: ['queued'],
          ...into('starting'),
          patch: { host: `h${index}`, epoch: 1 },
          actor: 'test',
        }),
      ),
    );
    assert.equal(results.filter(Boolean).length, 1);
    const events = await journal.read({ jobId: job.id, limit: 10 });
    assert.deepEqual(
      events.map((event) => [event.seq, event.payload['status']]),
      [
        [1, 'pending'],
        [2, 'queued'],
        [3, 'starting'],
      ],
    );
  });

  it('refuses a transition of an older dispatch', async () => {
    const { job } = await store.create(newJob());
    await store.transition(job.id, { from: ['pending'], ...into('queued'), actor: 'test' });
    await store.transition(job.id, {
      from: ['queued'],
      ...into('starting'),
      patch: { host: 'h', epoch: 2 },
      actor: 'test',
    });
    assert.equal(
      await store.transition(job.id, { from: ['starting'], ...into('running'), epoch: 1, actor: 'test' }),
      null,
    );
    assert.equal(await store.patch(job.id, 1, { exitCode: 7 }), false);
  });

  it('throws for a transition that the table does not hold', async () => {
    const { job } = await store.create(newJob());
    await assert.rejects(
      store.transition(job.id, { from: ['pending'], ...into('completed'), actor: 'test' }),
      /pending → completed/,
    );
  });

  it('keeps the first reason why a job ends', async () => {
    const { job } = await store.create(newJob());
    await store.transition(job.id, { from: ['pending'], ...into('queued'), actor: 'test' });
    await store.transition(job.id, {
      from: ['queued'],
      ...into('starting'),
      patch: { host: 'h', epoch: 1 },
      actor: 'test',
    });
    const first = await Promise.all([
      store.decideEnding(job.id, 'cancel', 'a'),
      rival.decideEnding(job.id, 'exit', 'b'),
    ]);
    assert.equal(first.filter(Boolean).length, 1);
    assert.equal(
      await store.transition(job.id, {
        from: ['starting'],
        ...into('running'),
        endingReason: null,
        actor: 'test',
      }),
      null,
    );
  });

  it('frees the key only when the job is cleaned', async () => {
    const clientJobId = randomUUID();
    const { job } = await store.create(newJob({}, { clientJobId }));
    await store.transition(job.id, { from: ['pending'], ...into('cancelled'), actor: 'test' });
    await store.transition(job.id, { from: ['cancelled'], ...into('cleaning'), actor: 'test' });
    assert.equal((await store.create(newJob({}, { clientJobId }))).created, false);
    await store.transition(job.id, { from: ['cleaning'], ...into('cleaned'), actor: 'test' });
    assert.equal((await store.create(newJob({}, { clientJobId }))).created, true);
  });

  it('pages newest first without repetition while rows are added', async () => {
    const owner = 'pager';
    for (let index = 0; index < 5; index += 1)
      await store.create(newJob({ labels: { n: String(index) } }, { owner }));
    const filter = { owner, states: null, type: null, label: null, limit: 2 };
    const first = await queries.list({ ...filter, beforePosition: null });
    await store.create(newJob({}, { owner }));
    const next = await queries.list({ ...filter, beforePosition: first.jobs[1]?.position ?? 0 });
    const labels = [...first.jobs, ...next.jobs].map((job) => job.labels['n']);
    assert.deepEqual(labels, ['4', '3', '2', '1']);
    assert.equal((await queries.list({ ...filter, label: ['n', '3'], beforePosition: null })).total, 1);
  });

  it('waits for another process that holds the write lock, without stopping the event loop', async () => {
    const { job } = await store.create(newJob());
    const locker = new BetterSqlite(dir.path('flashpods.db'));
    locker.exec('BEGIN IMMEDIATE');
    let ticks = 0;
    const ticker = setInterval(() => (ticks += 1), 5);
    const write = store.transition(job.id, { from: ['pending'], ...into('queued'), actor: 'test' });
    while (ticks < 30) await new Promise((wake) => setImmediate(wake));
    locker.exec('COMMIT');
    assert.equal((await write)?.status, 'queued');
    clearInterval(ticker);
    locker.close();
  });

  it('answers database_error once it is closed, to reads and writes', async () => {
    const closed = await Database.open({ path: dir.path('closed.db') });
    const rows = jobStores(closed);
    await closed.close();
    const refused = { name: 'FlashpodsError', code: 'database_error' };
    await assert.rejects(rows.queries.get('job_aaaaaaaaaaaa'), refused);
    await assert.rejects(rows.store.create(newJob()), refused);
  });

  it('refuses a database that is newer than the program', async () => {
    const path = dir.path('newer.db');
    await (await Database.open({ path })).close();
    const raw = new BetterSqlite(path);
    raw.prepare("insert into schema_migrations values ('9999-future', 1)").run();
    raw.close();
    await assert.rejects(Database.open({ path }), /newer than this program/);
  });
});
