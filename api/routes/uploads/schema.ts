import { z } from 'zod';
import { timeSchema } from '../time.ts';

export const uploadIdParams = z.strictObject({ id: z.string().describe('`upload_…`') });

export const createUploadSchema = z.strictObject({
  upload_id: z
    .string()
    .regex(/^upload_[a-z0-9-]{12}$/, 'must be `upload_` and 12 characters of a-z, 0-9 and hyphens')
    .optional()
    .describe('an id of your own'),
  base: z
    .string()
    .optional()
    .describe(
      'an earlier upload of yours, finalized and with its files still there: only what changed need be sent',
    ),
});

export const finalizeUploadSchema = z.strictObject({
  reusable: z.boolean().default(false).describe('many jobs may share the snapshot until it expires'),
  delete: z
    .array(z.string().min(1).max(4096))
    .max(100_000)
    .default([])
    .describe('files and directories of the base that the snapshot lacks, as relative paths'),
});

export const uploadSchema = z.object({
  upload_id: z.string(),
  state: z.enum(['uploading', 'finalized', 'consumed', 'expired']),
  reusable: z.boolean(),
  job_id: z.string().nullable(),
  size_bytes: z.int().nullable(),
  file_count: z.int().nullable(),
  created_at: timeSchema,
  finalized_at: timeSchema.nullable(),
  expires_at: timeSchema,
});

export const createdUploadSchema = uploadSchema.extend({
  base: z.string().nullable(),
  rsync_url: z.string().nullable().describe('where rsync may send files; null where no rsync daemon runs'),
  rsync_user: z.string().nullable().describe('good for this upload alone; it is in the URL already'),
  rsync_password: z.string().nullable().describe('for `RSYNC_PASSWORD`; shown only here'),
});

export const receivedSchema = uploadSchema.extend({
  received: z.object({ files: z.int(), bytes: z.int() }).describe('what this request added'),
});
