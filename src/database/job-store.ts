import type { Knex } from 'knex';
import { FlashpodsError } from '../errors.ts';
import type { ArtifactRecord, Job, JobEvent } from '../jobs/job.ts';
import {
  assertTransition,
  type EndingReason,
  HOSTED_STATES,
  type JobState,
  WAITING_STATES,
} from '../jobs/states.ts';
import type { EventFilter, JobFilter, JobPatch, JobStore, NewJob, Transition } from '../jobs/store.ts';
import { quotaExceeded } from '../tenants/tenant.ts';
import { type Database, isUniqueViolation } from './database.ts';
import { type JobRow, newRow, patchColumns, toJob } from './job-row.ts';

const RESULT_STATES: readonly JobState[] = ['completed', 'failed', 'timed_out', 'cancelled'];

/**
 * {@link JobStore} on knex. Each write is one transaction that holds the row's change and its journal entry. What has
 * at most one row by a unique key is asked for without `first`: SQLite compiles a statement with `limit ?` anew at
 * each run, 50 µs for a row as wide as a job's.
 */
export class KnexJobStore implements JobStore {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  async create(job: NewJob, maxWaiting: number | null = null): Promise<{ job: Job; created: boolean }> {
    try {
      return await this.#db.write(async (trx) => {
        // The claim of the upload comes first, so that the transaction begins with a write.
        if (job.filesId !== null) await claimUpload(trx, job.filesId, job);
        const createdAt = Date.now();
        const [row] = await trx<JobRow>('jobs').insert(newRow(job, createdAt)).returning('*');
        if (!row) throw new Error(`row of ${job.id} was not inserted`);
        row.ordered_at = await keepOrder(trx, row);
        if (maxWaiting !== null) await refuseMore(trx, job.owner, maxWaiting);
        const labels = Object.entries(job.labels).map(([key, value]) => ({ job_id: job.id, key, value }));
        if (labels.length > 0) await trx('job_labels').insert(labels);
        await appendEvent(trx, job.id, 1, 'created', { status: 'pending', type: job.type }, 'api', createdAt);
        return { job: toJob(row), created: true };
      });
    } catch (error) {
      // The loser of a race finds the winner's row; with an upload it may have failed at the claim already.
      const lost =
        isUniqueViolation(error) ||
        (error instanceof FlashpodsError && error.code === 'upload_already_consumed');
      const winner =
        lost && job.clientJobId !== null ? await this.byClientJobId(job.owner, job.clientJobId) : null;
      // guard: one-key-one-job
      if (winner) return { job: winner, created: false };
      throw error;
    }
  }

  async get(id: string): Promise<Job | null> {
    const [row] = await this.#db.read((db) => db<JobRow>('jobs').where({ id }));
    return row ? toJob(row) : null;
  }

  async byClientJobId(owner: string, clientJobId: string): Promise<Job | null> {
    const [row] = await this.#db.read((db) =>
      db<JobRow>('jobs').where({ owner, idempotency_key: clientJobId }),
    );
    return row ? toJob(row) : null;
  }

  async list(filter: JobFilter): Promise<{ jobs: Job[]; total: number }> {
    return this.#db.read(async (db) => {
      const matching = db<JobRow>('jobs').modify((query) => {
        if (filter.owner !== null) void query.where('owner', filter.owner);
        if (filter.type !== null) void query.where('type', filter.type);
        if (filter.label !== null) {
          const [key, value] = filter.label;
          void query.whereIn('id', db('job_labels').where({ key, value }).select('job_id'));
        }
      });
      const all = matching.clone().modify((query) => {
        if (filter.states !== null) void query.whereIn('status', [...filter.states]);
      });
      const [counted] = await all.count<{ total: number | string }[]>({ total: '*' });
      const page = matching.clone().orderBy('position', 'desc').limit(filter.limit) as Page;
      if (filter.beforePosition !== null) void page.where('position', '<', filter.beforePosition);
      const rows = await inEachState(page, filter.states);
      rows.sort((a, b) => b.position - a.position);
      return { jobs: rows.slice(0, filter.limit).map(toJob), total: Number(counted?.total ?? 0) };
    });
  }

  async transition(id: string, transition: Transition): Promise<Job | null> {
    for (const from of transition.from) assertTransition(from, transition.to);
    return this.#db.write(async (trx) => {
      const changes: Record<string, unknown> = {
        ...patchColumns(transition.patch ?? {}),
        status: transition.to,
        events: trx.raw('events + 1'),
      };
      // From here on the key may be used anew (promise 4 of the spec): logs and artifacts are gone.
      if (transition.to === 'cleaned') changes['idempotency_key'] = null;
      const updated: unknown = await trx('jobs')
        .where({ id })
        // guard: taken-while-waiting
        .whereIn('status', [...transition.from])
        .modify((query) => {
          // guard: row-fence
          if (transition.epoch !== undefined) void query.where('epoch', transition.epoch);
          if (transition.endingReason === null) void query.whereNull('ending_reason');
          else if (transition.endingReason) void query.whereIn('ending_reason', [...transition.endingReason]);
        })
        .update(changes)
        .returning('*');
      const [row] = updated as JobRow[];
      if (!row) return null;
      if (transition.artifacts) await replaceArtifacts(trx, id, transition.artifacts);
      const payload = { ...transition.payload, status: transition.to, epoch: row.epoch };
      await appendEvent(trx, id, row.events, 'state', payload, transition.actor, Date.now());
      if (transition.to === 'running' && row.files_id !== null) {
        await trx('uploads')
          .where({ id: row.files_id, job_id: id, state: 'finalized' })
          .update({ state: 'consumed' });
      }
      return toJob(row);
    });
  }

  async decideEnding(
    id: string,
    reason: EndingReason,
    actor: string,
    options: { epoch?: number; patch?: JobPatch } = {},
  ): Promise<boolean> {
    return this.#db.write(async (trx) => {
      const at = Date.now();
      const updated: unknown = await trx('jobs')
        .where({ id })
        // guard: first-reason
        .whereNull('ending_reason')
        .whereIn('status', [...HOSTED_STATES])
        .modify((query) => {
          if (options.epoch !== undefined) void query.where('epoch', options.epoch);
        })
        .update({
          ...patchColumns(options.patch ?? {}),
          ending_reason: reason,
          events: trx.raw('events + 1'),
          ...(reason === 'cancel' ? { cancel_requested_at: at } : {}),
        })
        .returning(['events', 'epoch']);
      const [row] = updated as Pick<JobRow, 'events' | 'epoch'>[];
      if (!row) return false;
      await appendEvent(trx, id, row.events, 'ending', { reason, epoch: row.epoch }, actor, at);
      return true;
    });
  }

  async patch(id: string, epoch: number, patch: JobPatch): Promise<boolean> {
    const changed = await this.#db.write((trx) =>
      trx<JobRow>('jobs').where({ id, epoch }).update(patchColumns(patch)),
    );
    return changed > 0;
  }

  async noteWaiting(id: string, epoch: number, reason: string, why: string | null): Promise<boolean> {
    return this.#db.write(async (trx) => {
      const [row] = await trx<JobRow>('jobs')
        .where({ id, epoch })
        .whereIn('status', [...WAITING_STATES])
        .update({
          waiting_reason: reason,
          ...(why === null ? {} : { events: trx.raw('events + 1') as unknown as number }),
        })
        .returning(['events', 'status']);
      if (!row) return false;
      if (why === null) return true;
      const payload = { status: row.status, epoch, why, reason };
      await appendEvent(trx, id, row.events, 'waiting', payload, 'dispatcher', Date.now());
      return true;
    });
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
      const page = db<JobRow>('jobs').where('position', '>', afterPosition).orderBy('position').limit(limit);
      const rows = await inEachState(page, WAITING_STATES);
      rows.sort((a, b) => a.position - b.position);
      return rows.slice(0, limit).map(toJob);
    });
  }

  async givenBack(limit: number): Promise<Job[]> {
    // As in the index of 0005-hosts, so that it is used.
    const rows = await this.#db.read((db) =>
      db<JobRow>('jobs').whereRaw(`status = 'queued' and epoch > 0`).orderBy('position').limit(limit),
    );
    return rows.map(toJob);
  }

  async expired(logsBefore: number, artifactsBefore: number, limit: number, skip = 0): Promise<Job[]> {
    const rows = await this.#db.read((db) =>
      db<JobRow>('jobs')
        .whereIn('status', [...RESULT_STATES, 'cleaning'])
        .where((query) => {
          void query
            .where((inner) => void inner.whereNull('logs_deleted_at').where('completed_at', '<=', logsBefore))
            .orWhere(
              (inner) =>
                void inner.whereNull('artifacts_deleted_at').where('completed_at', '<=', artifactsBefore),
            )
            .orWhere(
              (inner) => void inner.whereNotNull('logs_deleted_at').whereNotNull('artifacts_deleted_at'),
            );
        })
        .orderBy(['completed_at', 'position'])
        .limit(limit)
        .offset(skip),
    );
    return rows.map(toJob);
  }

  async finishedWithLogs(limit: number, skip = 0): Promise<Job[]> {
    const rows = await this.#db.read((db) =>
      db<JobRow>('jobs')
        .whereIn('status', [...RESULT_STATES, 'cleaning'])
        .whereNull('logs_deleted_at')
        .orderBy(['completed_at', 'position'])
        .limit(limit)
        .offset(skip),
    );
    return rows.map(toJob);
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

  async countByState(): Promise<Record<string, number>> {
    const rows = await this.#db.read(
      (db) =>
        db('jobs').select('status').count({ count: '*' }).groupBy('status') as Promise<
          { status: string; count: number | string }[]
        >,
    );
    return Object.fromEntries(rows.map((row) => [row.status, Number(row.count)]));
  }

  async artifacts(id: string): Promise<ArtifactRecord[]> {
    const rows = (await this.#db.read((db) =>
      db('artifacts').where({ job_id: id }).orderBy('name'),
    )) as ArtifactRow[];
    return rows.map((row) => ({
      name: row.name,
      sizeBytes: Number(row.size_bytes),
      sha256: row.sha256,
      createdAt: Number(row.created_at),
    }));
  }

  async events(filter: EventFilter): Promise<JobEvent[]> {
    return (await this.#db.read((db) => selectEvents(db, filter))).map(toEvent);
  }

  async journal(filter: EventFilter): Promise<{ event: JobEvent; job: Job }[]> {
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

  async journalBounds(): Promise<{ oldest: number; newest: number }> {
    // One aggregate a statement: SQLite answers each from an end of the index, and both in one by reading all.
    type Row = { position: number | null } | undefined;
    return this.#db.read(async (db) => {
      const lowest = (await db('events').min({ position: 'position' }).first()) as Row;
      const highest = (await db('events').max({ position: 'position' }).first()) as Row;
      return { oldest: lowest?.position ?? 0, newest: highest?.position ?? 0 };
    });
  }
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

interface ArtifactRow {
  name: string;
  size_bytes: number;
  sha256: string;
  created_at: number;
}

interface EventRow {
  position: number;
  job_id: string;
  seq: number;
  type: string;
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

const toEvent = (row: EventRow): JobEvent => ({
  position: row.position,
  jobId: row.job_id,
  seq: row.seq,
  type: row.type,
  payload: JSON.parse(row.payload) as Record<string, unknown>,
  actor: row.actor,
  at: Number(row.at),
});

/**
 * The row of the job that is being created is in already, and SQLite has one writer at a time: of many creations at
 * once as many succeed as there is room for. @throws FlashpodsError quota_exceeded, which takes the row back
 */
async function refuseMore(trx: Knex.Transaction, owner: string, maxWaiting: number): Promise<void> {
  const waiting = await countWaiting(trx, owner, maxWaiting + 1);
  if (waiting <= maxWaiting) return;
  throw quotaExceeded('queued_jobs', { limit: maxWaiting, used: waiting - 1, requested: 1 });
}

/** The condition is written out as in the partial index `jobs_owner_waiting_index`, or the index would not be used. */
async function countWaiting(db: Knex, owner: string, most: number): Promise<number> {
  const some = db('jobs').select('owner').where({ owner }).whereRaw("status in ('pending', 'queued')");
  const counted = await db
    .from(some.limit(most).as('some'))
    .count({ count: '*' })
    .first<{ count: number | string }>();
  return Number(counted.count);
}

/**
 * Puts nobody in front of those who came before because a clock was set back. Positions have no gaps: SQLite counts
 * what is rolled back anew. @returns `ordered_at` of the row
 */
async function keepOrder(trx: Knex.Transaction, { id, position, created_at }: JobRow): Promise<number> {
  const [before] = await trx<JobRow>('jobs')
    .where({ position: position - 1 })
    .select('ordered_at', 'created_at');
  const earliest = before?.ordered_at ?? before?.created_at ?? 0;
  if (earliest <= created_at) return created_at;
  await trx<JobRow>('jobs').where({ id }).update({ ordered_at: earliest });
  return earliest;
}

/** A collection that a crash interrupted is done again from the start: the last one counts. */
async function replaceArtifacts(
  trx: Knex.Transaction,
  jobId: string,
  artifacts: readonly ArtifactRecord[],
): Promise<void> {
  await trx('artifacts').where({ job_id: jobId }).delete();
  const rows = artifacts.map((artifact) => ({
    job_id: jobId,
    name: artifact.name,
    size_bytes: artifact.sizeBytes,
    sha256: artifact.sha256,
    created_at: artifact.createdAt,
  }));
  if (rows.length > 0) await trx.batchInsert('artifacts', rows, 100);
}

async function appendEvent(
  trx: Knex.Transaction,
  jobId: string,
  seq: number,
  type: string,
  payload: Readonly<Record<string, unknown>>,
  actor: string,
  at: number,
): Promise<void> {
  await trx('events').insert({ job_id: jobId, seq, type, payload: JSON.stringify(payload), actor, at });
}

async function claimUpload(
  trx: Knex.Transaction,
  uploadId: string,
  job: { id: string; owner: string },
): Promise<void> {
  interface Row {
    id: string;
    owner: string;
    state: string;
    reusable: number;
    job_id: string | null;
    expires_at: number;
  }
  const claimed = await trx<Row>('uploads')
    .where({ id: uploadId, owner: job.owner, state: 'finalized', reusable: 0 })
    .whereNull('job_id')
    .where('expires_at', '>', Date.now())
    .update({ job_id: job.id });
  if (claimed > 0) return;
  const row = await trx<Row>('uploads').where({ id: uploadId, owner: job.owner }).first();
  if (!row) throw new FlashpodsError('upload_not_found', undefined, { details: { files_id: uploadId } });
  if (row.state === 'uploading')
    throw new FlashpodsError('upload_not_finalized', undefined, { details: { files_id: uploadId } });
  if (row.job_id !== null)
    throw new FlashpodsError('upload_already_consumed', undefined, { details: { files_id: uploadId } });
  if (row.state === 'expired' || row.expires_at <= Date.now()) {
    throw new FlashpodsError('upload_expired', undefined, { details: { files_id: uploadId } });
  }
}
