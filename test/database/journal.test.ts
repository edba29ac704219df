import assert from 'node:assert/strict';
import BetterSqlite from 'better-sqlite3';
import { describe, it } from 'mocha';
import { Database } from '../../src/database/database.ts';
import { jobStores } from '../../src/database/job-stores.ts';
import { newJob } from '../support/jobs.ts';
import { scratch } from '../support/scratch.ts';

describe('a journal of an older Flashpods', () => {
  const dir = scratch();

  it('tells its events by their names of today, with state and epoch', async () => {
    await dir.make();
    const path = dir.path('older.db');
    const first = await Database.open({ path });
    const { job } = await jobStores(first).lifecycle.accepted(newJob());
    await first.close();
    const raw = new BetterSqlite(path);
    raw.exec(
      "delete from events; drop index events_cleaned_index; delete from schema_migrations where name = '0008-events'",
    );
    const older: [type: string, payload: object, actor: string][] = [
      ['created', { status: 'pending', type: 'worker' }, 'api'],
      ['state', { status: 'queued', epoch: 0 }, 'api'],
      ['waiting', { status: 'queued', epoch: 0, why: 'no_room', reason: 'Waiting.' }, 'dispatcher'],
      ['state', { status: 'starting', epoch: 1, host: 'h' }, 'dispatcher'],
      ['state', { status: 'queued', epoch: 1, reason: 'no_reservation' }, 'host:h'],
      ['state', { status: 'starting', epoch: 2, host: 'h' }, 'dispatcher'],
      ['state', { status: 'running', epoch: 2 }, 'host:h'],
      ['ending', { reason: 'exit', epoch: 2 }, 'host:h'],
      ['state', { status: 'completed', epoch: 2, exit_code: 0, error: null }, 'host:h'],
      ['state', { status: 'cleaning', epoch: 2 }, 'cleaner'],
      ['state', { status: 'cleaned', epoch: 2 }, 'cleaner'],
      ['state', { status: 'cancelled', epoch: 0, reason: 'cancel' }, 'api'],
      ['state', { status: 'failed', epoch: 0, reason: 'queue_timeout' }, 'queue'],
      ['state', { status: 'failed', epoch: 1 }, 'sweeper'],
      ['state', { status: 'failed', epoch: 1, exit_code: null, error: 'oom_killed' }, 'host:h'],
    ];
    const insert = raw.prepare(
      'insert into events (job_id, seq, type, payload, actor, at) values (?, ?, ?, ?, ?, 1)',
    );
    for (const [index, [type, payload, actor]] of older.entries())
      insert.run(job.id, index + 1, type, JSON.stringify(payload), actor);
    raw.close();

    const database = await Database.open({ path });
    try {
      const events = await jobStores(database).journal.read({ limit: 100 });
      assert.deepEqual(
        events.map(({ type, payload }) => [type, payload.status, payload.epoch]),
        [
          ['accepted', 'pending', 0],
          ['queued', 'queued', 0],
          ['waiting', 'queued', 0],
          ['taken', 'starting', 1],
          ['given_back', 'queued', 1],
          ['taken', 'starting', 2],
          ['started', 'running', 2],
          ['ending_decided', 'running', 2],
          ['ended', 'completed', 2],
          ['cleaning', 'cleaning', 2],
          ['cleaned', 'cleaned', 2],
          ['cancelled', 'cancelled', 0],
          ['failed_to_start', 'failed', 0],
          ['lost', 'failed', 1],
          ['ended', 'failed', 1],
        ],
      );
    } finally {
      await database.close();
    }
  });
});
