import type { z } from 'zod';
import type { Upload } from '../../../src/uploads/upload.ts';
import { isoTime, isoTimeOrNull } from '../time.ts';
import type { uploadSchema } from './schema.ts';

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
