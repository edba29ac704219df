import { z } from 'zod';
import { ownerName } from '../tokens/schema.ts';

const limit = z.number().int('must be an integer').min(0).max(1_000_000).nullable();

const limits = {
  running_jobs: limit.describe('jobs that hold resources, starting ones too'),
  cpus: limit.describe('cpus that they hold together'),
  memory_gb: limit.describe('memory that they hold together, GB'),
  queued_jobs: limit.describe('jobs that wait'),
  kept_mb: limit.describe('artifacts that jobs keep by `keep_hours`, MB'),
};

export const tenantParams = z.strictObject({ owner: z.string().describe('whom tokens belong to') });
export const setTenantParams = z.strictObject({ owner: ownerName });

export const setTenantSchema = z.strictObject({
  weight: z
    .number()
    .min(0.001)
    .max(1_000)
    .default(1)
    .describe('its part of the farm beside other owners that want some, relative to theirs'),
  limits: z
    .strictObject(limits)
    .partial()
    .default({})
    .describe('null: no limit; left out: the default of the server’s settings'),
});

export const tenantSchema = z.object({
  owner: z.string(),
  weight: z.number(),
  limits: z.object(limits).describe('in force; null: no limit'),
  used: z.object({
    running_jobs: z.number().int(),
    cpus: z.number().int(),
    memory_gb: z.number().int(),
    queued_jobs: z.number().int(),
    kept_mb: z.number().int(),
  }),
  overridden: z.boolean().describe('an admin set something for this owner'),
});

export const tenantListSchema = z.object({ tenants: z.array(tenantSchema) });
