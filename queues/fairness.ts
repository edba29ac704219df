/** What each owner holds now and may hold, for {@link choose} and for the semaphore. */
import { mibOf, milliOf } from '../src/jobs/amount.ts';
import type { Tenant } from '../src/tenants/tenant.ts';
import type { Entitlements } from '../src/tenants/tenants.ts';
import { addHeld, type Fairness, type Held } from './choose.ts';
import type { FarmView } from './semaphore/farm-view.ts';
import type { HoldLimits } from './semaphore/semaphore.ts';

/** In the units of the semaphore. */
export const holdLimits = ({ limits }: Tenant): HoldLimits => ({
  jobs: limits.runningJobs,
  cpusMilli: limits.cpus === null ? null : milliOf(limits.cpus),
  memoryMib: limits.memoryGb === null ? null : mibOf(limits.memoryGb),
});

/** What each owner holds, also on hosts that take no work, and may hold. */
export function fairnessOf(view: FarmView, entitlements: Entitlements): Fairness {
  const held = new Map<string, Held>();
  for (const reservation of view.reservations) addHeld(held, reservation);
  return {
    held,
    terms: (owner) => {
      const tenant = entitlements.of(owner);
      const { jobs, cpusMilli, memoryMib } = holdLimits(tenant);
      return {
        weight: tenant.weight,
        maxJobs: jobs ?? Infinity,
        maxCpusMilli: cpusMilli ?? Infinity,
        maxMemoryMib: memoryMib ?? Infinity,
      };
    },
  };
}
