import type { Knex } from 'knex';
import type { EventBase, EventType, JobEvent, NewEvent } from '../jobs/events.ts';
import type { Job } from '../jobs/job.ts';
import type { EventFilter, EventJournal } from '../jobs/journal.ts';
import type { Database } from './database.ts';
import { type JobRow, toJob } from './job-row.ts';

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
      const jobs = new Map((await db<JobRow>('jobs').whereIn('id', ids)).map((row) => [row.id, toJob(row)]));
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
      return { oldest: lowest?.position ?? 0, newest: highest?.position ?? 0 };
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
