import { z } from 'zod';
import { CACHE_NAME_PATTERN } from '../../../src/caches/known.ts';
import { timeSchema } from '../time.ts';

export const cacheRemovalQuery = z.strictObject({
  cache: z.string().regex(new RegExp(CACHE_NAME_PATTERN)).describe('name of the cache'),
  scope: z.string().min(1).max(255).optional().describe('of this scope alone; without it of every scope'),
  owner: z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe('whose; another than one’s own takes the scope `admin`'),
});

export const cacheRemovalSchema = z.object({ hosts: z.array(z.string()).describe('hosts that had it') });

export const cacheListSchema = z.object({
  caches: z.array(
    z.object({
      name: z.string(),
      scope: z.string().describe('branch or label; `default` is read where a scope has none of its own'),
      owner: z.string(),
      path: z.string().describe('where the job that wrote it had it'),
      size_bytes: z.int(),
      written_at: timeSchema.describe('when it was replaced last; ISO 8601 in UTC'),
      written_by: z.string().describe('id of the job that did'),
      used_at: timeSchema.describe('when a job had it last; ISO 8601 in UTC'),
      hits: z.int().describe('jobs that found it'),
      host: z.string().describe('host that has it'),
    }),
  ),
});
