import type { z } from 'zod';
import { inApiUnits, NOTHING } from '../../../src/jobs/amount.ts';
import type { OwnerTotals } from '../../../src/jobs/ports.ts';
import type { Tenant, TenantLimits } from '../../../src/tenants/tenant.ts';
import type { setTenantSchema, tenantSchema } from './schema.ts';

export const presentTenant = (
  { owner, weight, limits }: Tenant,
  used: OwnerTotals | undefined,
  overridden: boolean,
): z.infer<typeof tenantSchema> => ({
  owner,
  weight,
  limits: {
    running_jobs: limits.runningJobs,
    cpus: limits.cpus,
    memory_gb: limits.memoryGb,
    queued_jobs: limits.queuedJobs,
    kept_mb: limits.keptMb,
  },
  used: {
    running_jobs: used?.runningJobs ?? 0,
    ...inApiUnits(used ?? NOTHING),
    queued_jobs: used?.queuedJobs ?? 0,
    kept_mb: used?.keptMb ?? 0,
  },
  overridden,
});

/** Only what was given: what is left out stays the default of the settings. */
export function readLimits(given: z.infer<typeof setTenantSchema>['limits']): Partial<TenantLimits> {
  return {
    ...(given.running_jobs === undefined ? {} : { runningJobs: given.running_jobs }),
    ...(given.cpus === undefined ? {} : { cpus: given.cpus }),
    ...(given.memory_gb === undefined ? {} : { memoryGb: given.memory_gb }),
    ...(given.queued_jobs === undefined ? {} : { queuedJobs: given.queued_jobs }),
    ...(given.kept_mb === undefined ? {} : { keptMb: given.kept_mb }),
  };
}
