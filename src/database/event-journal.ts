import type { Knex } from 'knex';
import type { EventBase, EventType, JobEvent, NewEvent } from '../jobs/events.ts';
import type { Job } from '../jobs/job.ts';
import type { EventFilter, EventJournal } from '../jobs/journal.ts';
import type { Database } from './database.ts';
import { columnsWithoutEnv, type JobRow, toJob } from './job-row.ts';

/** In `meta`: the highest position that was ever deleted. */
const DELETED_THROUGH = 'events_deleted_through';

/** {@link EventJournal} on knex. */
export class KnexEventJournal implements EventJournal {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  async read(filter: EventFilter): Promise<JobEvent[]> {
    return (await this.#db.read((db) => selectEvents(db, filter))).map(toEvent);
  }

  async readWithJobs(filter: EventFilter): Promise<{ event: JobEvent; job: Job }[]> {
    return this.#db.read(async (db) => {
      const events = (await selectEvents(db, filter)).map(toEvent);
      const ids = [...new Set(events.map((event) => event.jobId))];
      if (ids.length === 0) return [];
      const rows = (await db('jobs')
        .select(await columnsWithoutEnv(db))
        .whereIn('id', ids)) as JobRow[];
      const jobs = new Map(rows.map((row) => [row.id, toJob(row)]));
      return events.flatMap((event) => {
        const job = jobs.get(event.jobId);
        return job ? [{ event, job }] : [];
      });
    });
  }

  async bounds(): Promise<{ oldest: number; newest: number }> {
    // One aggregate a statement: SQLite answers each from an end of the index, and both in one by reading all.
    type Row = { position: number | null } | undefined;
    return this.#db.read(async (db) => {
      const lowest = (await db('events').min({ position: 'position' }).first()) as Row;
      const highest = (await db('events').max({ position: 'position' }).first()) as Row;
      const [deleted] = await db<{ key: string; value: string }>('meta').where({ key: DELETED_THROUGH });
      const through = Number(deleted?.value ?? 0);
      const oldest = Math.max(lowest?.position ?? 0, through === 0 ? 0 : through + 1);
      return { oldest, newest: Math.max(highest?.position ?? 0, through) };
    });
  }

  async deleteExpired(cleanedBefore: number, most: number): Promise<number> {
    return this.#db.write(async (trx) => {
      // The condition is written out as in the partial index of 0008-events, so that it is used.
      const deleted = await trx.raw<Pick<EventRow, 'position' | 'job_id'>[]>(
        `delete from events where job_id in
           (select job_id from events where type = 'cleaned' and at <= ? order by at limit ?)
         returning position, job_id`,
        [cleanedBefore, most],
      );
      if (deleted.length === 0) return 0;
      const highest = Math.max(...deleted.map(({ position }) => position));
      const [before] = await trx<{ key: string; value: string }>('meta').where({ key: DELETED_THROUGH });
      const value = String(Math.max(highest, Number(before?.value ?? 0)));
      await trx('meta').insert({ key: DELETED_THROUGH, value }).onConflict('key').merge();
      return new Set(deleted.map(({ job_id: id }) => id)).size;
    });
  }
}

interface EventRow {
  position: number;
  job_id: string;
  seq: number;
  type: EventType;
  payload: string;
  actor: string;
  at: number;
}

async function selectEvents(db: Knex, filter: EventFilter): Promise<EventRow[]> {
  const query = db<EventRow>('events').orderBy('position').limit(filter.limit);
  if (filter.jobId !== undefined) void query.where('job_id', filter.jobId);
  if (filter.afterPosition !== undefined) void query.where('position', '>', filter.afterPosition);
  return await query;
}

const toEvent = (row: EventRow): JobEvent =>
  ({
    position: row.position,
    jobId: row.job_id,
    seq: row.seq,
    type: row.type,
    payload: JSON.parse(row.payload) as unknown,
    actor: row.actor,
    at: Number(row.at),
  }) as JobEvent;

/** In the transaction of the change that it tells of. @param job the row after the change */
export async function appendEvent(
  trx: Knex.Transaction,
  jobId: string,
  seq: number,
  { status, epoch }: EventBase,
  { type, payload }: NewEvent,
  actor: string,
  at: number,
): Promise<void> {
  const whole = JSON.stringify({ ...payload, status, epoch });
  await trx('events').insert({ job_id: jobId, seq, type, payload: whole, actor, at });
}
