/** What a job does with its upload, in the transactions of its own row: both must hold or neither. */
import type { Knex } from 'knex';
import { FlashpodsError } from '../errors.ts';
import { TERMINAL_STATES } from '../jobs/states.ts';

interface Row {
  id: string;
  owner: string;
  state: string;
  reusable: number;
  job_id: string | null;
  expires_at: number;
  file_count: number | null;
  files_deleted_at: number | null;
}

/**
 * The job takes an upload that is its owner's, finalized, not expired and no other job's; a reusable one stays free.
 * @returns how many files it holds
 * @throws FlashpodsError upload_not_found, upload_not_finalized, upload_already_consumed, upload_expired
 */
export async function attachUpload(
  trx: Knex.Transaction,
  uploadId: string,
  job: { id: string; owner: string },
): Promise<number> {
  const attached = await trx<Row>('uploads')
    .where({ id: uploadId, owner: job.owner, state: 'finalized', reusable: 0 })
    .whereNull('job_id')
    .where('expires_at', '>', Date.now())
    .update({ job_id: job.id });
  const row = await trx<Row>('uploads').where({ id: uploadId, owner: job.owner }).first();
  if (!row) throw new FlashpodsError('upload_not_found', undefined, { details: { files_id: uploadId } });
  if (attached > 0) return row.file_count ?? 0;
  if (row.state === 'uploading')
    throw new FlashpodsError('upload_not_finalized', undefined, { details: { files_id: uploadId } });
  if (row.job_id !== null)
    throw new FlashpodsError('upload_already_consumed', undefined, { details: { files_id: uploadId } });
  if (row.state === 'expired' || row.expires_at <= Date.now()) {
    throw new FlashpodsError('upload_expired', undefined, { details: { files_id: uploadId } });
  }
  return row.file_count ?? 0;
}

/**
 * A job that is made once more shares the upload of the first: each sees its own view of it, so it does not matter
 * whether that one still runs. The upload belongs to the later job when the earlier one needs it no longer.
 * @returns how many files it holds
 * @throws FlashpodsError upload_not_found, upload_expired when its files are gone
 */
export async function shareUpload(
  trx: Knex.Transaction,
  uploadId: string,
  job: { id: string; owner: string },
): Promise<number> {
  await trx('uploads')
    .where({ id: uploadId, owner: job.owner, reusable: 0 })
    .whereIn('state', ['finalized', 'consumed'])
    .whereNull('files_deleted_at')
    .where((query) => {
      const ended = trx('jobs')
        .whereIn('status', [...TERMINAL_STATES])
        .select('id');
      void query.whereNull('job_id').orWhereIn('job_id', ended);
    })
    .update({ job_id: job.id });
  const row = await trx<Row>('uploads').where({ id: uploadId, owner: job.owner }).first();
  if (!row) throw new FlashpodsError('upload_not_found', undefined, { details: { files_id: uploadId } });
  if (row.files_deleted_at !== null || !['finalized', 'consumed'].includes(row.state))
    throw new FlashpodsError('upload_expired', undefined, { details: { files_id: uploadId } });
  return row.file_count ?? 0;
}

/**
 * The job is over. An upload that it took and never ran on is free again, for any job; all others are kept for that time,
 * so that the job can be made once more.
 */
export async function leaveUpload(
  trx: Knex.Transaction,
  uploadId: string,
  jobId: string,
  keepMs: number,
): Promise<void> {
  const until = Date.now() + keepMs;
  await trx('uploads')
    .where({ id: uploadId })
    .whereNull('files_deleted_at')
    .whereIn('state', ['finalized', 'consumed'])
    .where('expires_at', '<', until)
    .update({ expires_at: until });
  await trx('uploads').where({ id: uploadId, job_id: jobId, state: 'finalized' }).update({ job_id: null });
}

/** The job runs: its upload stays with it for good. */
export async function consumeUpload(trx: Knex.Transaction, uploadId: string, jobId: string): Promise<void> {
  await trx('uploads')
    .where({ id: uploadId, job_id: jobId, state: 'finalized' })
    .update({ state: 'consumed' });
}
