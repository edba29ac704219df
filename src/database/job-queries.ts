import type { Knex } from 'knex';
import { camelKeys } from '../jobs/description/names.ts';
import type { ArtifactRecord, Job } from '../jobs/job.ts';
import type { Expiry, JobFilter, JobQueries } from '../jobs/queries.ts';
import {
  ACTIVE_STATES,
  HOSTED_STATES,
  isActive,
  isHosted,
  isWaiting,
  type JobState,
  RESULT_STATES,
  WAITING_STATES,
} from '../jobs/states.ts';
import type { Database } from './database.ts';
import { columnsWithoutEnv, type JobRow, toJob } from './job-row.ts';
import type { Row } from './row.ts';

/**
 * {@link JobQueries} on knex. What has at most one row by a unique key is asked for without `first`: SQLite compiles a
 * statement with `limit ?` anew at each run, 50 µs for a row as wide as a job's.
 */
export class KnexJobQueries implements JobQueries {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  async get(id: string): Promise<Job | null> {
    const [row] = await this.#db.read((db) => db<JobRow>('jobs').where({ id }));
    return row ? toJob(row) : null;
  }

  async byClientJobId(owner: string, clientJobId: string): Promise<Job | null> {
    return this.#db.read((db) => jobByKey(db, owner, clientJobId));
  }

  async list(filter: JobFilter): Promise<{ jobs: Job[]; total: number }> {
    return this.#db.read(async (db) => {
      const matching = matchingOf(db, filter);
      const total = await countOf(matching, filter.states);
      const columns = await columnsWithoutEnv(db);
      const page = matching
        .clone()
        .select(columns)
        .orderBy('position', 'desc')
        .limit(filter.limit) as unknown as Page;
      if (filter.beforePosition !== null) void page.where('position', '<', filter.beforePosition);
      const rows = await inEachState(page, filter.states);
      rows.sort((a, b) => b.position - a.position);
      return { jobs: rows.slice(0, filter.limit).map(toJob), total };
    });
  }

  async turns(filter: JobFilter): Promise<{ jobs: Job[]; total: number }> {
    const states = (filter.states ?? ACTIVE_STATES).filter(isActive);
    return this.#db.read(async (db) => {
      const matching = matchingOf(db, filter);
      const total = await countOf(matching, states);
      const hosted = (await matching
        .clone()
        .whereIn('status', states.filter(isHosted))
        .select('id')
        .orderBy('position')
        .limit(filter.limit)) as readonly Named[];
      // About: the wait that makes up for one step of priority is a setting of the queue, which knows the exact places.
      const nth = db.raw(
        'row_number() over (partition by owner order by coalesce(ordered_at, created_at) + priority * ?, position) as nth',
        [USUAL_AGEING_MS],
      );
      const first = matching
        .clone()
        .whereIn('status', states.filter(isWaiting))
        .select('id', nth)
        .as('first');
      const waiting = (await db
        .from(first)
        .where('nth', '<=', filter.limit)
        .select('id')
        .orderBy('nth')
        .limit(Math.min(2 * filter.limit, MOST_TURNS))) as readonly Named[];
      const ids = [...hosted, ...waiting].map(({ id }) => id);
      const columns = await columnsWithoutEnv(db);
      const rows = (await db<JobRow>('jobs').whereIn('id', ids).select(columns)) as unknown as JobRow[];
      const at = new Map(ids.map((id, index) => [id, index]));
      rows.sort((a, b) => (at.get(a.id) ?? 0) - (at.get(b.id) ?? 0));
      return { jobs: rows.map(toJob), total };
    });
  }

  async overdue(now: number, limit: number): Promise<Job[]> {
    const rows = await this.#db.read((db) =>
      db<JobRow>('jobs')
        .whereIn('status', [...WAITING_STATES])
        .whereNotNull('max_queue_seconds')
        .whereRaw('created_at + max_queue_seconds * 1000 <= ?', [now])
        .limit(limit),
    );
    return rows.map(toJob);
  }

  async hostedOn(host: string): Promise<Job[]> {
    const rows = await this.#db.read((db) =>
      db<JobRow>('jobs')
        .where({ host })
        .whereIn('status', [...HOSTED_STATES])
        .orderBy('position'),
    );
    return rows.map(toJob);
  }

  async waiting(afterPosition: number, limit: number): Promise<Job[]> {
    return this.#db.read(async (db) => {
      const page = db<JobRow>('jobs')
        .select(await columnsWithoutEnv(db))
        .where('position', '>', afterPosition)
        .orderBy('position')
        .limit(limit) as unknown as Page;
      const rows = await inEachState(page, WAITING_STATES);
      rows.sort((a, b) => a.position - b.position);
      return rows.slice(0, limit).map(toJob);
    });
  }

  async givenBack(limit: number): Promise<Job[]> {
    // As in the index of 0005-hosts, so that it is used.
    return this.#db.read(async (db) => {
      const rows = db<JobRow>('jobs')
        .select(await columnsWithoutEnv(db))
        .whereRaw(`status = 'queued' and epoch > 0`)
        .orderBy('position')
        .limit(limit) as unknown as Page;
      return (await rows).map(toJob);
    });
  }

  async expired({ logsBefore, artifactsBefore, now }: Expiry, limit: number, skip = 0): Promise<Job[]> {
    return this.#db.read(async (db) => {
      const rows = db<JobRow>('jobs')
        .select(await columnsWithoutEnv(db))
        .whereIn('status', [...RESULT_STATES, 'cleaning'])
        .where((query) => {
          void query
            .where(
              (inner) =>
                void inner
                  .whereNull('logs_deleted_at')
                  .where('completed_at', '<=', logsBefore)
                  .whereRaw('completed_at + coalesce(keep_hours, 0) * 3600000 <= ?', [now]),
            )
            .orWhere(
              (inner) =>
                void inner
                  .whereNull('artifacts_deleted_at')
                  .where('completed_at', '<=', artifactsBefore)
                  .whereRaw('coalesce(kept_until, 0) <= ?', [now]),
            )
            .orWhere(
              (inner) => void inner.whereNotNull('logs_deleted_at').whereNotNull('artifacts_deleted_at'),
            );
        })
        .orderBy(['completed_at', 'position'])
        .limit(limit)
        .offset(skip) as unknown as Page;
      return (await rows).map(toJob);
    });
  }

  async keptBytes(owner: string | null, now: number): Promise<Map<string, number>> {
    return this.#db.read((db) => keptBytes(db, owner, now));
  }

  async finishedWithLogs(limit: number, skip = 0): Promise<Job[]> {
    return this.#db.read(async (db) => {
      const rows = db<JobRow>('jobs')
        .select(await columnsWithoutEnv(db))
        .whereIn('status', [...RESULT_STATES, 'cleaning'])
        .whereNull('logs_deleted_at')
        .orderBy(['completed_at', 'position'])
        .limit(limit)
        .offset(skip) as unknown as Page;
      return (await rows).map(toJob);
    });
  }

  async remains(ids: readonly string[]): Promise<Map<string, { logs: boolean; artifacts: boolean }>> {
    const rows = await this.#db.read((db) =>
      db<JobRow>('jobs')
        .whereIn('id', [...ids])
        .select('id', 'logs_deleted_at', 'artifacts_deleted_at'),
    );
    return new Map(
      rows.map((row) => [
        row.id,
        { logs: row.logs_deleted_at === null, artifacts: row.artifacts_deleted_at === null },
      ]),
    );
  }

  async artifacts(id: string): Promise<ArtifactRecord[]> {
    return this.#artifacts((rows) => rows.where({ job_id: id }).whereNot('type', 'parent').orderBy('name'));
  }

  async artifactParents(id: string): Promise<ArtifactRecord[]> {
    return this.#artifacts((rows) => rows.where({ job_id: id, type: 'parent' }).orderBy('name'));
  }

  async artifact(id: string, name: string): Promise<ArtifactRecord | null> {
    const [found] = await this.#artifacts((rows) =>
      rows.where({ job_id: id, name }).whereNot('type', 'parent'),
    );
    return found ?? null;
  }

  async #artifacts(narrow: (rows: ArtifactRows) => ArtifactRows): Promise<ArtifactRecord[]> {
    const rows = await this.#db.read((db) =>
      narrow(db<ArtifactRow>('artifacts')).select(
        'name',
        'type',
        'size_bytes',
        'sha256',
        'mode',
        'mtime_ns',
        'link_target',
        'leads_to',
        'created_at',
      ),
    );
    return rows.map(({ sha256, ...row }) => ({
      ...(camelKeys(row) as Omit<ArtifactRecord, 'sha256'>),
      sha256: sha256 === '' ? null : sha256,
    }));
  }
}

/** The owner's job with that idempotency key, unless it is cleaned. */
export async function jobByKey(db: Knex, owner: string, key: string): Promise<Job | null> {
  const [row] = await db<JobRow>('jobs').where({ owner, idempotency_key: key });
  return row ? toJob(row) : null;
}

type ArtifactRow = Row<Required<Omit<ArtifactRecord, 'sha256'>>> & {
  job_id: string;
  /** Empty where there is none: the column takes no null. */
  sha256: string;
};
type ArtifactRows = Knex.QueryBuilder<ArtifactRow, ArtifactRow[]>;

/** How much later a job may come and still pass one whose priority is one step lower, unless it is set otherwise. */
const USUAL_AGEING_MS = 600_000;
type Named = Pick<JobRow, 'id'>;

/** Waiting jobs whose places are asked for at once: for each of them Redis looks at every owner. */
const MOST_TURNS = 200;

/** All that a filter says but for states and pages. */
const matchingOf = (db: Knex, { owner, type, label, find = null }: JobFilter) =>
  db<JobRow>('jobs').modify((query) => {
    const labelled = (key: string, value: string) =>
      db('job_labels').where({ key, value }).select('job_id') as unknown as Knex.QueryBuilder;
    if (owner !== null) void query.where('owner', owner);
    if (type !== null) void query.where('type', type);
    if (label !== null) void query.whereIn('id', labelled(...label));
    if (find === null) return;
    void query.where((either) => {
      void either.whereIn('id', labelled('name', find));
      const begin = find.startsWith('job_') ? find : `job_${find}`;
      // A range, which an index has in order; `{` comes after all that an id may hold.
      if (/^job_[a-z0-9]+$/.test(begin))
        void either.orWhere((range) => void range.where('id', '>=', begin).where('id', '<', `${begin}{`));
    });
  });

async function countOf(
  matching: ReturnType<typeof matchingOf>,
  states: readonly JobState[] | null,
): Promise<number> {
  const all = matching.clone().modify((query) => {
    if (states !== null) void query.whereIn('status', [...states]);
  });
  const [counted] = await all.count<{ total: number | string }[]>({ total: '*' });
  return Number(counted?.total ?? 0);
}

type Page = Knex.QueryBuilder<JobRow, JobRow[]>;

/**
 * The page of each state by itself: asked for several states at once, SQLite reads and sorts all rows that are in them,
 * 50 ms with 100,000 of them, and otherwise walks along an index that has the order.
 */
async function inEachState(page: Page, states: readonly JobState[] | null): Promise<JobRow[]> {
  if (states === null) return page;
  const rows: JobRow[] = [];
  for (const status of states) {
    const some: JobRow[] = await page.clone().where({ status });
    rows.push(...some);
  }
  return rows;
}

/** As {@link JobQueries.keptBytes}, also within a transaction. The condition is that of `jobs_kept_index`. */
export async function keptBytes(db: Knex, owner: string | null, now: number): Promise<Map<string, number>> {
  const rows = await db('jobs')
    .whereRaw('kept_until is not null and artifacts_deleted_at is null')
    .where('kept_until', '>', now)
    .modify((query) => {
      if (owner !== null) void query.where({ owner });
    })
    .groupBy('owner')
    .select('owner')
    .sum<{ owner: string; bytes: number | null }[]>({ bytes: 'kept_bytes' });
  return new Map(rows.map(({ owner: name, bytes }) => [name, bytes ?? 0]));
}
