/** What is assumed of the database, as tests that any database can be put through (docs/database.md). */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import type { JobStores } from '../../src/database/job-stores.ts';
import type { NewJob } from '../../src/jobs/store.ts';
import { newJob } from '../support/jobs.ts';

export interface OpenStores {
  /** The same database over two connections, as two processes have it. */
  readonly stores: JobStores;
  readonly rival: JobStores;
  close(): Promise<void>;
}

type Promised = readonly [promise: string, check: (open: OpenStores) => Promise<void>];

const ANY_JOB = { owner: null, states: null, type: null, label: null, limit: 1, beforePosition: null };
/** Alternately through each of the two connections, at once. */
const race = <T>({ stores, rival }: OpenStores, times: number, act: (own: JobStores) => Promise<T>) =>
  Promise.allSettled(Array.from({ length: times }, (_, index) => act(index % 2 === 0 ? stores : rival)));
const values = <T>(results: readonly PromiseSettledResult<T>[]): T[] =>
  results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
const create = (own: JobStores, more: Partial<NewJob> = {}) => own.lifecycle.accepted(newJob({}, more));

export const PROMISES: readonly Promised[] = [
  [
    'a change applies only to the row that it expects, and exactly one of many rivals makes it',
    async (open) => {
      const { job } = await create(open.stores);
      const queued = await race(open, 10, (own) => own.lifecycle.queued(job.id, 'test'));
      assert.equal(values(queued).filter((row) => row !== null).length, 1);
      const taken = await race(open, 10, (own) => own.lifecycle.taken(job, 'h', 'test'));
      assert.equal(values(taken).filter((row) => row !== null).length, 1);
      assert.equal((await open.stores.queries.get(job.id))?.epoch, 1);
    },
  ],
  [
    'a row and its event are written together or not at all',
    async (open) => {
      const { job } = await create(open.stores);
      let done = false;
      const writing = race(open, 10, (own) => own.lifecycle.queued(job.id, 'test')).then(() => (done = true));
      while (!done) {
        await turn();
        const events = await open.rival.journal.read({ jobId: job.id, limit: 10 });
        const row = await open.rival.queries.get(job.id);
        // Read after the events, the row may only be further.
        if (events.length === 2) assert.equal(row?.status, 'queued');
      }
      await writing;
      const events = await open.stores.journal.read({ jobId: job.id, limit: 10 });
      assert.deepEqual(
        events.map(({ seq, type }) => [seq, type]),
        [
          [1, 'accepted'],
          [2, 'queued'],
        ],
      );
    },
  ],
  [
    'a reader of the journal that goes on after the last position misses nothing',
    async (open) => {
      const begin = (await open.stores.journal.bounds()).newest;
      const seen: number[] = [];
      let done = false;
      const writing = race(open, 200, async (own) => {
        const { job } = await create(own);
        await own.lifecycle.queued(job.id, 'test');
      }).then(() => (done = true));
      for (let position = begin; ;) {
        const finished = done;
        await turn();
        const page = await open.rival.journal.read({ afterPosition: position, limit: 7 });
        seen.push(...page.map((event) => event.position));
        position = page.at(-1)?.position ?? position;
        if (finished && page.length === 0) break;
      }
      await writing;
      const all = await open.stores.journal.read({ afterPosition: begin, limit: 1_000 });
      assert.equal(all.length, 400);
      assert.deepEqual(
        seen,
        all.map((event) => event.position),
      );
    },
  ],
  [
    'positions of jobs have no gaps, also after creations that were refused',
    async (open) => {
      const { job: first } = await create(open.stores);
      const owner = randomUUID();
      await race(open, 30, (own) => own.lifecycle.accepted(newJob({}, { owner }), { maxWaiting: 4 }));
      const { job: last } = await create(open.rival);
      assert.equal(last.position, first.position + 5);
    },
  ],
  [
    'a limit that is counted in the transaction of an insert is never passed',
    async (open) => {
      const owner = randomUUID();
      const results = await race(open, 50, (own) =>
        own.lifecycle.accepted(newJob({}, { owner }), { maxWaiting: 10 }),
      );
      assert.equal(values(results).length, 10);
      assert.equal((await open.rival.queries.list({ ...ANY_JOB, owner })).total, 10);
    },
  ],
  [
    'of creations with one key, one makes a job and the others are given it',
    async (open) => {
      const clientJobId = randomUUID();
      const results = values(await race(open, 20, (own) => create(own, { clientJobId })));
      assert.equal(results.length, 20);
      assert.equal(results.filter(({ created }) => created).length, 1);
      assert.equal(new Set(results.map(({ job }) => job.id)).size, 1);
    },
  ],
  [
    'a write that fails takes no other write with it, though they share a transaction',
    async ({ stores }) => {
      const { job } = await create(stores);
      const results = await Promise.allSettled(
        Array.from({ length: 20 }, (_, index) => create(stores, index === 7 ? { id: job.id } : {})),
      );
      assert.deepEqual(
        results.flatMap(({ status }, index) => (status === 'rejected' ? [index] : [])),
        [7],
      );
      for (const { job: made } of values(results)) assert.ok(await stores.queries.get(made.id));
    },
  ],
  [
    'positions of events are never used again, also after the newest events were deleted',
    async ({ stores, rival }) => {
      const { job } = await create(stores);
      const cancelled = await stores.lifecycle.cancelled(job.id, 'test');
      assert.ok(cancelled);
      await stores.lifecycle.cleaning(cancelled, 'test');
      await stores.lifecycle.cleaned(job.id, 'test');
      const { newest } = await stores.journal.bounds();
      assert.equal(await rival.journal.deleteExpired(Date.now() - 60_000, 10), 0);
      assert.equal(await rival.journal.deleteExpired(Date.now(), 10), 1);
      assert.deepEqual(await stores.journal.read({ jobId: job.id, limit: 10 }), []);
      // A reader at the end goes on; a reader before it must be told that something is gone.
      assert.deepEqual(await stores.journal.bounds(), { oldest: newest + 1, newest });
      const { job: next } = await create(rival);
      const [event] = await stores.journal.read({ jobId: next.id, limit: 1 });
      assert.deepEqual([event?.position, event?.seq], [newest + 1, 1]);
    },
  ],
];

/** @param open a new, empty database, twice connected */
export function describeContract(name: string, open: () => Promise<OpenStores>): void {
  describe(`${name} keeps what is assumed of the database:`, () => {
    let opened: OpenStores;
    before(async () => {
      opened = await open();
    });
    after(() => opened.close());
    for (const [promise, check] of PROMISES) it(promise, () => check(opened));
  });
}
