import type { Knex } from 'knex';
import { FlashpodsError } from '../errors.ts';
import { snakeKeys } from '../jobs/description/names.ts';
import type { ArtifactRecord, Job } from '../jobs/job.ts';
import {
  assertTransition,
  type EndingReason,
  HOSTED_STATES,
  isResult,
  WAITING_STATES,
} from '../jobs/states.ts';
import type { CreateOptions, JobPatch, JobStore, NewJob, Transition } from '../jobs/store.ts';
import { keepResults } from '../jobs/kept.ts';
import { quotaExceeded } from '../tenants/tenant.ts';
import { type Database, isUniqueViolation } from './database.ts';
import { appendEvent } from './event-journal.ts';
import { jobByKey, keptBytes } from './job-queries.ts';
import { type JobRow, newRow, patchColumns, toJob } from './job-row.ts';
import { keptLimitOf } from './tenant-store.ts';
import { attachUpload, consumeUpload, leaveUpload, shareUpload } from './upload-attachment.ts';

/** Said in the notes of a job. */
const NO_FILES = 'The upload holds no files: /work is empty.';

/** {@link JobStore} on knex. Each write is one transaction that holds the row's change and its journal entry. */
export class KnexJobStore implements JobStore {
  readonly #db: Database;

  readonly #keepUploadsMs: number;
  readonly #keptMb: number | null;

  /**
   * @param keepUploadsMs how long an upload is kept when its job has ended
   * @param keptMb artifacts that an owner may keep by `keep_hours`, unless an admin set something else; null: no limit
   */
  constructor(database: Database, keepUploadsMs: number, keptMb: number | null) {
    this.#db = database;
    this.#keepUploadsMs = keepUploadsMs;
    this.#keptMb = keptMb;
  }

  async create(
    job: NewJob,
    { maxWaiting = null, isRerun = false }: CreateOptions = {},
  ): Promise<{ job: Job; created: boolean }> {
    try {
      return await this.#db.write(async (trx) => {
        // The upload comes first, so that the transaction begins with a write.
        const attach = isRerun ? shareUpload : attachUpload;
        const fileCount = job.filesId === null ? null : await attach(trx, job.filesId, job);
        const notes = [...(job.notes ?? []), ...(fileCount === 0 ? [NO_FILES] : [])];
        const createdAt = Date.now();
        const [row] = await trx<JobRow>('jobs')
          .insert(newRow({ ...job, notes }, createdAt))
          .returning('*');
        if (!row) throw new Error(`row of ${job.id} was not inserted`);
        row.ordered_at = await keepOrder(trx, row);
        if (maxWaiting !== null) await refuseMore(trx, job.owner, maxWaiting);
        const labels = Object.entries(job.labels).map(([key, value]) => ({ job_id: job.id, key, value }));
        if (labels.length > 0) await trx('job_labels').insert(labels);
        const base = { status: row.status, epoch: row.epoch };
        const event = { type: 'accepted', payload: { type: job.type } } as const;
        await appendEvent(trx, job.id, 1, base, event, 'api', createdAt);
        return { job: toJob(row), created: true };
      });
    } catch (error) {
      // The loser of a race finds the winner's row; with an upload it may have failed to attach it already.
      const lost =
        isUniqueViolation(error) ||
        (error instanceof FlashpodsError && error.code === 'upload_already_consumed');
      const key = job.clientJobId;
      const winner = lost && key !== null ? await this.#db.read((db) => jobByKey(db, job.owner, key)) : null;
      // guard: one-key-one-job
      if (winner) return { job: winner, created: false };
      throw error;
    }
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
      const [written] = updated as JobRow[];
      if (!written) return null;
      const row = isResult(transition.to) ? await this.#keep(trx, written, transition) : written;
      if (transition.artifacts) await replaceArtifacts(trx, id, transition.artifacts);
      await appendEvent(trx, id, row.events, row, transition.event, transition.actor, Date.now());
      if (row.files_id !== null) {
        if (transition.to === 'running') await consumeUpload(trx, row.files_id, id);
        if (isResult(transition.to)) await leaveUpload(trx, row.files_id, id, this.#keepUploadsMs);
      }
      return toJob(row);
    });
  }

  /** Grants what a job that ends now asked for, if its owner may keep so much: one writer at a time, so never more. */
  async #keep(trx: Knex.Transaction, row: JobRow, { artifacts = [] }: Transition): Promise<JobRow> {
    const { id, owner, keep_hours: keepHours, completed_at: completedAt } = row;
    if (keepHours === null || completedAt === null) return row;
    const artifactBytes = artifacts
      .filter(({ type }) => type !== 'symlink')
      .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const used = (await keptBytes(trx, owner, completedAt)).get(owner) ?? 0;
    const limit = await keptLimitOf(trx, owner, this.#keptMb);
    const kept = keepResults({ keepHours, completedAt, artifactBytes }, used, limit);
    const changes =
      typeof kept === 'string'
        ? patchColumns({ warnings: [...toJob(row).warnings, kept] })
        : patchColumns({ keptUntil: kept.keptUntil, keptBytes: kept.keptBytes });
    const updated: unknown = await trx('jobs').where({ id }).update(changes).returning('*');
    return (updated as JobRow[])[0] ?? row;
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
        .returning(['events', 'status', 'epoch']);
      const [row] = updated as Pick<JobRow, 'events' | 'status' | 'epoch'>[];
      if (!row) {
        // It ends for another reason, or ends already: what is still done for it need not be.
        if (reason === 'cancel') {
          const hosted = trx<JobRow>('jobs')
            .where({ id })
            .whereIn('status', [...HOSTED_STATES]);
          await hosted.update({ cancel_requested_at: at });
        }
        return false;
      }
      const event = { type: 'ending_decided', payload: { reason } } as const;
      await appendEvent(trx, id, row.events, row, event, actor, at);
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
        .returning(['events', 'status', 'epoch']);
      if (!row) return false;
      if (why === null) return true;
      const event = { type: 'waiting', payload: { why, reason } } as const;
      await appendEvent(trx, id, row.events, row, event, 'dispatcher', Date.now());
      return true;
    });
  }
}

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
  const rows = artifacts.map(
    ({ type = 'file', sha256, mode, mtimeNs, linkTarget, leadsTo, ...artifact }) => ({
      job_id: jobId,
      ...snakeKeys(artifact),
      type,
      // The column is older than what has none.
      sha256: sha256 ?? '',
      mode: mode ?? null,
      mtime_ns: mtimeNs ?? null,
      link_target: linkTarget ?? null,
      leads_to: leadsTo ?? null,
    }),
  );
  // SQLite takes no more than 500 rows in the form that knex gives them.
  if (rows.length > 0) await trx.batchInsert('artifacts', rows, 500);
}
