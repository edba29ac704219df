import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Cleaner } from '../../processors/cleaner.ts';
import type { CleanerResources } from '../../processors/resources.ts';
import type { Job } from '../../src/jobs/job.ts';
import { makeCompleted, makeRunning } from '../api/job-states.ts';
import { eventually } from '../support/eventually.ts';
import { into, newJob } from '../support/jobs.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { openCleaner, type OpenCleaner } from './cleaning.ts';

const HOUR = 3_600_000;

describe('the cleaner', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let open: OpenCleaner;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    await mkdir(join(directory.path, 'logs'));
    await mkdir(join(directory.path, 'artifacts'));
    open = await openCleaner(directory.path);
  });
  afterEach(async () => {
    await open.close();
    await directory.remove();
  });

  const leaveFiles = async (id: string, logBytes = 100): Promise<void> => {
    await writeFile(join(directory.path, 'logs', `${id}.log`), Buffer.alloc(logBytes));
    await writeFile(join(directory.path, 'logs', `${id}.idx`), Buffer.alloc(32));
    await mkdir(join(directory.path, 'artifacts', id, 'sub'), { recursive: true });
    await writeFile(join(directory.path, 'artifacts', id, 'sub', 'a'), 'artifact');
  };
  const completed = async (logBytes?: number, clientJobId: string | null = null): Promise<Job> => {
    const { job } = await open.store.create(newJob({}, { clientJobId }));
    await leaveFiles(job.id, logBytes);
    return makeCompleted(open.store, job.id);
  };
  /** What is on disk of a job: `log`, `index`, `artifacts`, `partial`. */
  const left = async (id: string): Promise<string[]> => {
    const names = [
      ...(await readdir(join(directory.path, 'logs'))),
      ...(await readdir(join(directory.path, 'artifacts'))),
    ];
    const kinds: Record<string, string> = {
      [`${id}.log`]: 'log',
      [`${id}.idx`]: 'index',
      [id]: 'artifacts',
      [`.${id}.partial`]: 'partial',
    };
    return names.flatMap((name) => kinds[name] ?? []).sort();
  };
  const rowOf = async (id: string): Promise<Job> => {
    const job = await open.queries.get(id);
    assert.ok(job);
    return job;
  };
  const statesOf = async (id: string): Promise<unknown[]> =>
    (await open.journal.read({ jobId: id, limit: 100 }))
      .filter(({ type }) => type !== 'accepted' && type !== 'waiting' && type !== 'ending_decided')
      .map(({ payload }) => payload['status'])
      .slice(-2);

  it('keeps artifacts and log of a job that asked for it, and never shorter than those of others', async () => {
    for (const [hours, artifacts, log] of [
      [48, 48, 48],
      [2, 2, 24],
    ] as const) {
      const { job } = await open.store.create(newJob({ keep_hours: hours }));
      await leaveFiles(job.id);
      const ended = (await makeCompleted(open.store, job.id)).completedAt ?? 0;
      for (const [until, there] of [
        [artifacts, ['artifacts', 'index', 'log']],
        [log, artifacts === log ? ['artifacts', 'index', 'log'] : ['index', 'log']],
      ] as const) {
        await open.cleaner.sweep(ended + until * HOUR - 1);
        assert.deepEqual(await left(job.id), there);
      }
      await open.cleaner.sweep(ended + log * HOUR);
      assert.deepEqual(await left(job.id), []);
      assert.equal((await rowOf(job.id)).status, 'cleaned');
    }
  });

  it('deletes artifacts and log each after its time, and only then calls the job cleaned', async () => {
    const { id, completedAt } = await completed(100, 'key');
    const ended = completedAt ?? 0;
    await open.cleaner.sweep(ended + HOUR - 1);
    assert.deepEqual(await left(id), ['artifacts', 'index', 'log']);

    await open.cleaner.sweep(ended + HOUR);
    assert.deepEqual(await left(id), ['index', 'log']);
    const between = await rowOf(id);
    assert.equal(between.status, 'completed');
    assert.notEqual(between.artifactsDeletedAt, null);
    assert.equal(between.logsDeletedAt, null);

    await open.cleaner.sweep(ended + 24 * HOUR);
    assert.deepEqual(await left(id), []);
    assert.equal((await rowOf(id)).status, 'cleaned');
    assert.equal(await open.queries.byClientJobId('default', 'key'), null);
    await open.cleaner.sweep(ended + 48 * HOUR);
    assert.deepEqual(await statesOf(id), ['cleaning', 'cleaned']);
  });

  it('leaves jobs alone that have not ended', async () => {
    const { job } = await open.store.create(newJob());
    await leaveFiles(job.id);
    await makeRunning(open.store, job.id);
    await open.cleaner.sweep(Date.now() + 1000 * HOUR);
    await open.cleaner.sweepOrphans(Date.now() + 1000 * HOUR);
    assert.deepEqual(await left(job.id), ['artifacts', 'index', 'log']);
    assert.equal((await rowOf(job.id)).status, 'running');
  });

  it('goes on after a crash at any of its steps, and has deleted everything in the end', async () => {
    let crashes = 0;
    for (let step = 0; ; step++) {
      const { id, completedAt } = await completed();
      const now = (completedAt ?? 0) + 24 * HOUR;
      const dying = dieAt(step, open.resources);
      await new Cleaner(dying.resources).sweep(now);
      const job = await rowOf(id);
      const files = await left(id);
      // What is recorded as deleted is deleted, for any moment of the crash.
      if (job.artifactsDeletedAt !== null) assert.ok(!files.includes('artifacts'), `step ${step}`);
      if (job.logsDeletedAt !== null) assert.ok(!files.includes('log') && !files.includes('index'));
      if (job.status === 'cleaned') assert.deepEqual(files, []);
      await open.cleaner.sweep(now);
      assert.deepEqual(await left(id), [], `step ${step}`);
      assert.equal((await rowOf(id)).status, 'cleaned');
      assert.deepEqual(await statesOf(id), ['cleaning', 'cleaned'], `step ${step}`);
      if (!dying.died()) break;
      crashes++;
    }
    // cleaning · artifacts · their record · log · its record · cleaned
    assert.ok(crashes >= 6, `${crashes} crashes`);
  });

  it('is killed in the middle of a deletion and repeats it', async () => {
    const { id, completedAt } = await completed();
    const sub = join(directory.path, 'artifacts', id, 'sub');
    const count = 2000;
    for (let i = 0; i < count; i++) await writeFile(join(sub, `f${i}`), '');
    const now = (completedAt ?? 0) + 24 * HOUR;
    const child = fork(join(import.meta.dirname, 'fixtures', 'clean.ts'), [directory.path, String(now)]);
    const exited = once(child, 'exit');
    await eventually('some files are gone', async () => (await readdir(sub)).length < count, { everyMs: 1 });
    child.kill('SIGKILL');
    await exited;
    assert.ok((await left(id)).includes('artifacts'), 'it was killed too late');
    const job = await rowOf(id);
    assert.equal(job.status, 'cleaning');
    assert.equal(job.artifactsDeletedAt, null);
    await open.cleaner.sweep(now);
    assert.deepEqual(await left(id), []);
    assert.equal((await rowOf(id)).status, 'cleaned');
  });

  it('is not stopped by what it cannot delete', async () => {
    const stuck = new Set<string>();
    for (let i = 0; i < 101; i++) stuck.add((await completed()).id);
    const { id, completedAt } = await completed();
    let uploads = 0;
    const cleaner = new Cleaner({
      ...open.resources,
      artifacts: {
        list: () => open.resources.artifacts.list(),
        delete: (jobId) =>
          stuck.has(jobId)
            ? Promise.reject(Object.assign(new Error('i/o error'), { code: 'EIO' }))
            : open.resources.artifacts.delete(jobId),
      },
      uploads: { sweep: () => Promise.resolve(void uploads++) },
    });
    const now = (completedAt ?? 0) + 24 * HOUR;
    await cleaner.sweep(now);
    assert.equal((await rowOf(id)).status, 'cleaned');
    assert.equal(uploads, 1);
    for (const each of stuck) assert.notEqual((await rowOf(each)).status, 'cleaned');
    await open.cleaner.sweep(now);
    for (const each of stuck) assert.equal((await rowOf(each)).status, 'cleaned');
  });

  it('may run twice at once', async () => {
    const jobs = [await completed(), await completed(), await completed()];
    const now = Math.max(...jobs.map((job) => job.completedAt ?? 0)) + 24 * HOUR;
    const other = await openCleaner(directory.path);
    try {
      await Promise.all([open.cleaner.sweep(now), other.cleaner.sweep(now)]);
    } finally {
      await other.close();
    }
    for (const { id } of jobs) {
      assert.equal((await rowOf(id)).status, 'cleaned');
      assert.deepEqual(await left(id), []);
      assert.deepEqual(await statesOf(id), ['cleaning', 'cleaned']);
    }
  });

  describe('when all logs together are too large', () => {
    const MB = 2 ** 20;
    const limited = (logsTotalMb: number): Cleaner =>
      new Cleaner({ ...open.resources, config: { ...open.resources.config, logsTotalMb } });

    it('says so of a job that asked to keep its log', async () => {
      const { job } = await open.store.create(newJob({ keep_hours: 48 }));
      await leaveFiles(job.id, MB);
      await makeCompleted(open.store, job.id);
      await limited(0).sweep();
      assert.deepEqual(await left(job.id), ['artifacts']);
      assert.match((await rowOf(job.id)).warnings.join(), /The log is not kept as long as `keep_hours` says/);
    });

    it('deletes those of the jobs that ended first, until the rest fits, and nothing else', async () => {
      const { job: running } = await open.store.create(newJob());
      await leaveFiles(running.id, MB);
      await makeRunning(open.store, running.id);
      const { job: never } = await open.store.create(newJob());
      await open.store.transition(never.id, {
        from: ['pending'],
        ...into('cancelled'),
        patch: { completedAt: Date.now() },
        actor: 'test',
      });
      const [first, second, third, last] = [
        await completed(MB),
        await completed(MB),
        await completed(MB),
        await completed(MB),
      ];
      // 5 MiB and a little for the indices: two must go, the running one's may not.
      await limited(4).sweep();
      assert.deepEqual(await left(first.id), ['artifacts']);
      assert.deepEqual(await left(second.id), ['artifacts']);
      for (const { id } of [third, last, running]) {
        assert.deepEqual(await left(id), ['artifacts', 'index', 'log']);
      }
      const evicted = await rowOf(first.id);
      assert.equal(evicted.status, 'completed');
      assert.notEqual(evicted.logsDeletedAt, null);
      assert.equal((await rowOf(never.id)).logsDeletedAt, null);

      await limited(1).sweep();
      assert.deepEqual(await left(last.id), ['artifacts']);
      assert.deepEqual(await left(running.id), ['artifacts', 'index', 'log']);
    });

    it('deletes no more of them when another cleaner does the same', async () => {
      const jobs: Job[] = [];
      for (let i = 0; i < 12; i++) jobs.push(await completed(MB));
      // The other one works just when this one has counted.
      const counting: CleanerResources = {
        ...open.resources,
        config: { ...open.resources.config, logsTotalMb: 8 },
        logs: {
          async list() {
            const counted = await open.resources.logs.list();
            await limited(8).sweep();
            return counted;
          },
          delete: (jobId) => open.resources.logs.delete(jobId),
        },
      };
      await new Cleaner(counting).sweep();
      const logs = await Promise.all(jobs.map(async ({ id }) => (await left(id)).includes('log')));
      assert.deepEqual(logs, [...Array<boolean>(5).fill(false), ...Array<boolean>(7).fill(true)]);
    });

    it('calls a job cleaned whose artifacts were gone already', async () => {
      const { id, completedAt } = await completed(2 * MB);
      await open.cleaner.sweep((completedAt ?? 0) + HOUR);
      await limited(1).sweep();
      assert.deepEqual(await left(id), []);
      assert.equal((await rowOf(id)).status, 'cleaned');
    });
  });

  describe('of files that no job needs', () => {
    it('removes those without a row once they are old, and those whose row says they are gone', async () => {
      const kept = await completed();
      const deleted = await completed();
      await open.store.patch(deleted.id, deleted.epoch, { logsDeletedAt: 1, artifactsDeletedAt: 1 });
      await leaveFiles('job_orphan000000');
      await mkdir(join(directory.path, 'artifacts', '.job_orphan000000.partial'));
      await writeFile(join(directory.path, 'logs', 'job_onlyindex000.idx'), '');
      await writeFile(join(directory.path, 'logs', 'notes.log'), 'not ours');
      await mkdir(join(directory.path, 'artifacts', 'lost+found'));

      await open.cleaner.sweepOrphans();
      assert.deepEqual(await left(kept.id), ['artifacts', 'index', 'log']);
      assert.deepEqual(await left(deleted.id), []);
      assert.deepEqual(await left('job_orphan000000'), ['artifacts', 'index', 'log', 'partial']);

      await open.cleaner.sweepOrphans(Date.now() + 2 * HOUR);
      assert.deepEqual(await readdir(join(directory.path, 'artifacts')), [kept.id, 'lost+found'].sort());
      assert.deepEqual(
        await readdir(join(directory.path, 'logs')),
        [`${kept.id}.idx`, `${kept.id}.log`, 'notes.log'].sort(),
      );
    });

    it('takes a file’s own age, not that of its neighbours', async () => {
      await leaveFiles('job_old000000000');
      await leaveFiles('job_new000000000');
      const old = new Date(Date.now() - 2 * HOUR);
      for (const path of [
        'logs/job_old000000000.log',
        'logs/job_old000000000.idx',
        'artifacts/job_old000000000',
      ]) {
        await utimes(join(directory.path, path), old, old);
      }
      await open.cleaner.sweepOrphans();
      assert.deepEqual(await left('job_old000000000'), []);
      assert.deepEqual(await left('job_new000000000'), ['artifacts', 'index', 'log']);
    });
  });

  it('deletes the events of a job long after the job itself was cleaned, and never those of others', async () => {
    const { id } = await completed();
    const { job: other } = await open.lifecycle.accepted(newJob());
    const events = async (job: string) => (await open.journal.read({ jobId: job, limit: 50 })).length;
    const cleaned = await open.queries.get(id);
    assert.ok(cleaned);
    await open.lifecycle.cleaning(cleaned, 'test');
    await open.lifecycle.cleaned(id, 'test');
    await open.cleaner.sweep(Date.now() + 719 * HOUR);
    assert.ok((await events(id)) > 0);
    await open.cleaner.sweep(Date.now() + 721 * HOUR);
    assert.deepEqual([await events(id), await events(other.id)], [0, 1]);
  });

  it('begins at once, and stops', async () => {
    const { id, epoch } = await completed();
    await open.store.patch(id, epoch, { completedAt: Date.now() - 24 * HOUR });
    await leaveFiles('job_orphan000000');
    open.cleaner.start();
    open.cleaner.start();
    await eventually('the job is cleaned', async () => (await rowOf(id)).status === 'cleaned');
    await open.cleaner.stop();
    await open.cleaner.stop();
  });
});

/** Resources of a process that dies at its `step`-th change: nothing that it does afterwards has an effect. */
function dieAt(step: number, own: CleanerResources): { resources: CleanerResources; died(): boolean } {
  let changes = 0;
  const living = async <T>(change: () => Promise<T>): Promise<T> => {
    if (changes++ >= step) throw new Error('dead');
    return change();
  };
  const { lifecycle } = own;
  return {
    resources: {
      ...own,
      lifecycle: {
        cleaning: (...args) => living(() => lifecycle.cleaning(...args)),
        filesDeleted: (...args) => living(() => lifecycle.filesDeleted(...args)),
        cleaned: (...args) => living(() => lifecycle.cleaned(...args)),
        warned: (...args) => living(() => lifecycle.warned(...args)),
      },
      logs: { list: () => own.logs.list(), delete: (id) => living(() => own.logs.delete(id)) },
      artifacts: {
        list: () => own.artifacts.list(),
        delete: (id) => living(() => own.artifacts.delete(id)),
      },
    },
    died: () => changes > step,
  };
}
