/** What a job does with its upload, in the transactions of its own row: both must hold or neither. */
import type { Knex } from 'knex';
import { FlashpodsError } from '../errors.ts';

/**
 * The job takes an upload that is its owner's, finalized, not expired and no other job's; a reusable one stays free.
 * @throws FlashpodsError upload_not_found, upload_not_finalized, upload_already_consumed, upload_expired
 */
export async function attachUpload(
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
  const attached = await trx<Row>('uploads')
    .where({ id: uploadId, owner: job.owner, state: 'finalized', reusable: 0 })
    .whereNull('job_id')
    .where('expires_at', '>', Date.now())
    .update({ job_id: job.id });
  if (attached > 0) return;
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

/** The job runs: its upload stays with it for good. */
export async function consumeUpload(trx: Knex.Transaction, uploadId: string, jobId: string): Promise<void> {
  await trx('uploads')
    .where({ id: uploadId, job_id: jobId, state: 'finalized' })
    .update({ state: 'consumed' });
}
