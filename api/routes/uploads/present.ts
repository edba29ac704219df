import type { z } from 'zod';
import type { RsyncTarget } from '../../../src/uploads/rsync/rsync.ts';
import type { Upload } from '../../../src/uploads/upload.ts';
import { isoTime, isoTimeOrNull } from '../time.ts';
import type { createdUploadSchema, uploadSchema } from './schema.ts';

export const presentUpload = (upload: Upload): z.infer<typeof uploadSchema> => ({
  upload_id: upload.id,
  state: upload.state,
  reusable: upload.reusable,
  job_id: upload.jobId,
  size_bytes: upload.sizeBytes,
  file_count: upload.fileCount,
  created_at: isoTime(upload.createdAt),
  finalized_at: isoTimeOrNull(upload.finalizedAt),
  expires_at: isoTime(upload.expiresAt),
});

/** @param hostname under which the caller reached us, for a daemon that listens on every address */
export const presentCreated = (
  upload: Upload,
  rsync: RsyncTarget | null,
  hostname: string,
): z.infer<typeof createdUploadSchema> => ({
  ...presentUpload(upload),
  base: upload.baseId,
  rsync_url: rsync && `rsync://${rsync.user}@${reachable(rsync.address, hostname)}/uploads/`,
  rsync_user: rsync?.user ?? null,
  rsync_password: rsync?.password ?? null,
});

const reachable = (address: string, hostname: string): string =>
  address.replace(
    /^(0\.0\.0\.0|\[::\])(?=:)/,
    hostname.includes(':') ? `[${hostname.replaceAll(/[[\]]/g, '')}]` : hostname,
  );
