import type { Knex } from 'knex';
import { FlashpodsError } from '../errors.ts';
import { TERMINAL_STATES } from '../jobs/states.ts';
import { camelKeys } from '../jobs/description/names.ts';
import type { UploadStore } from '../uploads/upload-store.ts';
import type { Upload } from '../uploads/upload.ts';
import { type Database, isUniqueViolation } from './database.ts';
import type { Row } from './row.ts';

type UploadRow = Row<Upload> & { new_bytes: number | null };

const toUpload = (row: UploadRow): Upload => ({
  ...(camelKeys(row) as Upload),
  reusable: row.reusable !== 0,
});

/** {@link UploadStore} on knex. What a job does with its upload is in upload-attachment. */
export class KnexUploadStore implements UploadStore {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  async create(
    upload: { id: string; owner: string; expiresAt: number; baseId?: string | null },
    most?: { readonly ofOwner: number; readonly inAll: number },
  ): Promise<Upload> {
    try {
      return await this.#db.write(async (trx) => {
        if (most) await refuseMore(trx, upload.owner, most);
        const [row] = await trx<UploadRow>('uploads')
          .insert({
            id: upload.id,
            owner: upload.owner,
            state: 'uploading',
            created_at: Date.now(),
            expires_at: upload.expiresAt,
            base_id: upload.baseId ?? null,
          })
          .returning('*');
        if (!row) throw new Error(`row of ${upload.id} was not inserted`);
        return toUpload(row);
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw new FlashpodsError('invalid_request', '`upload_id` is taken; choose another', {
        details: { field: 'upload_id' },
      });
    }
  }

  async get(id: string): Promise<Upload | null> {
    const row = await this.#db.read((db) => db<UploadRow>('uploads').where({ id }).first());
    return row ? toUpload(row) : null;
  }

  async prolong(id: string, expiresAt: number): Promise<boolean> {
    const changed = await this.#db.write((trx) =>
      trx<UploadRow>('uploads')
        .where({ id, state: 'uploading' })
        .where('expires_at', '>', Date.now())
        .update({ expires_at: trx.raw('max(expires_at, ?)', [expiresAt]) as unknown as number }),
    );
    return changed > 0;
  }

  async finalize(id: string, facts: Parameters<UploadStore['finalize']>[1]): Promise<Upload | null> {
    return this.#db.write(async (trx) => {
      const changed = await trx<UploadRow>('uploads')
        .where({ id, state: 'uploading' })
        .update({
          state: 'finalized',
          size_bytes: facts.sizeBytes,
          file_count: facts.fileCount,
          weight_bytes: facts.weightBytes ?? facts.sizeBytes,
          new_bytes: facts.newBytes ?? facts.weightBytes ?? facts.sizeBytes,
          expires_at: facts.expiresAt,
          reusable: Number(facts.reusable),
          finalized_at: Date.now(),
        });
      if (changed === 0) return null;
      const row = await trx<UploadRow>('uploads').where({ id }).first();
      return row ? toUpload(row) : null;
    });
  }

  async expire(id: string): Promise<boolean> {
    const changed = await this.#db.write((trx) =>
      trx<UploadRow>('uploads')
        .where({ id })
        .whereIn('state', ['uploading', 'finalized'])
        .whereNull('job_id')
        .update({ state: 'expired' }),
    );
    return changed > 0;
  }

  async disposable(now: number, limit: number): Promise<Upload[]> {
    const rows = await this.#db.read((db) =>
      db<UploadRow>('uploads')
        .whereNull('files_deleted_at')
        .where((query) => {
          void query
            .where('state', 'expired')
            .orWhere((inner) => void inner.whereNull('job_id').where('expires_at', '<=', now))
            .orWhere((inner) => {
              const ended = db('jobs')
                .whereIn('status', [...TERMINAL_STATES])
                .select('id');
              void inner.whereIn('job_id', ended).where('expires_at', '<=', now);
            });
        })
        // A shared snapshot goes when its time is over and nobody who named it still needs it.
        .whereNotExists(function () {
          void this.select(db.raw('1'))
            .from('jobs')
            .whereRaw('jobs.files_id = uploads.id')
            .whereNotIn('jobs.status', [...TERMINAL_STATES]);
        })
        .whereNotExists(function () {
          void this.select(db.raw('1'))
            .from('uploads as later')
            .whereRaw('later.base_id = uploads.id')
            .where('later.state', 'uploading')
            .where('later.expires_at', '>', now);
        })
        .orderBy('created_at')
        .limit(limit),
    );
    return rows.map(toUpload);
  }

  async keptForReruns(limit: number, owner: string | null = null): Promise<string[]> {
    const rows = await this.#db.read((db) =>
      db<UploadRow>('uploads')
        .where(owner === null ? {} : { owner })
        .where({ state: 'consumed' })
        .whereNull('files_deleted_at')
        .whereIn(
          'job_id',
          db('jobs')
            .whereIn('status', [...TERMINAL_STATES])
            .select('id'),
        )
        .orderBy('expires_at')
        .limit(limit)
        .select('id'),
    );
    return rows.map(({ id }) => id);
  }

  async retire(id: string): Promise<boolean> {
    const now = Date.now();
    const changed = await this.#db.write((trx) =>
      trx<UploadRow>('uploads')
        .where({ id })
        .whereIn('state', ['finalized', 'consumed'])
        .whereNotNull('job_id')
        .whereNull('files_deleted_at')
        .whereNotExists(function () {
          void this.select(trx.raw('1'))
            .from('jobs')
            .whereRaw('jobs.files_id = uploads.id')
            .whereNotIn('jobs.status', [...TERMINAL_STATES]);
        })
        .whereNotExists(function () {
          void this.select(trx.raw('1'))
            .from('uploads as later')
            .whereRaw('later.base_id = uploads.id')
            .where('later.state', 'uploading')
            .where('later.expires_at', '>', now);
        })
        .update({ files_deleted_at: now }),
    );
    return changed > 0;
  }

  async isBase(id: string, now: number): Promise<boolean> {
    const row = await this.#db.read((db) =>
      db<UploadRow>('uploads')
        .where({ base_id: id, state: 'uploading' })
        .where('expires_at', '>', now)
        .first('id'),
    );
    return row !== undefined;
  }

  async markFilesDeleted(id: string): Promise<void> {
    await this.#db.write(async (trx) => {
      await trx<UploadRow>('uploads').where({ id }).update({ files_deleted_at: Date.now() });
      await trx<UploadRow>('uploads').where({ id, state: 'finalized' }).update({ state: 'expired' });
    });
  }

  async storedBytes(owner?: string): Promise<number> {
    const row = await this.#db.read((db) =>
      db('uploads')
        .leftJoin('uploads as base', (join) => {
          void join.on('base.id', 'uploads.base_id').andOnNull('base.files_deleted_at');
        })
        .where(owner === undefined ? {} : { 'uploads.owner': owner })
        .whereNull('uploads.files_deleted_at')
        .first<{ bytes: number | string | null }>(
          db.raw(`sum(case when base.id is null then coalesce(uploads.weight_bytes, uploads.size_bytes)
            else coalesce(uploads.new_bytes, uploads.size_bytes) end) as bytes`),
        ),
    );
    return Number(row.bytes ?? 0);
  }

  async ownersOfStored(): Promise<Map<string, string>> {
    const rows = await this.#db.read((db) =>
      db<UploadRow>('uploads').whereNull('files_deleted_at').select('id', 'owner'),
    );
    return new Map(rows.map(({ id, owner }) => [id, owner]));
  }
}

/** There is one writer at a time, so of many that come at once as many succeed as may be. @throws FlashpodsError too_many_open */
async function refuseMore(
  trx: Knex.Transaction,
  owner: string,
  most: { readonly ofOwner: number; readonly inAll: number },
): Promise<void> {
  const open = await trx<UploadRow>('uploads')
    .where({ state: 'uploading' })
    .where('expires_at', '>', Date.now())
    .select('owner');
  const own = open.filter((row) => row.owner === owner).length;
  if (own < most.ofOwner && open.length < most.inAll) return;
  const isOwn = own >= most.ofOwner;
  const limit = isOwn ? most.ofOwner : most.inAll;
  throw new FlashpodsError(
    'too_many_open',
    isOwn
      ? `You have ${own} open uploads, and may have ${limit}: finalize or delete some, or wait until they expire.`
      : `All owners together have ${limit} open uploads, which is the most; try again in a while.`,
    { details: { what: 'open_uploads', limit, used: isOwn ? own : open.length, retry_after_seconds: 5 } },
  );
}
