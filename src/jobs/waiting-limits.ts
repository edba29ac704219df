/** Whether there are hosts, and room on them, for what a job asks for. */
import { FlashpodsError } from '../errors.ts';
import { refuseBeyond, type TenantLimits } from '../tenants/tenant.ts';
import { type Amount, amountOf, fits, inApiUnits, inWords, NOTHING } from './amount.ts';
import type { JobRequest, JobSpec } from './description/types.ts';
import type { JobQueue, KnownHost } from './ports.ts';

/**
 * A job that does not ask for cpus or memory, and whose defaults no host has, gets what the largest host has that can
 * run it. What was asked for stays.
 * @returns the spec, and a sentence for each default that was lowered
 */
export function lowerDefaults(
  spec: JobSpec,
  request: JobRequest,
  hosts: readonly Pick<KnownHost, 'capacity'>[],
): { readonly spec: JobSpec; readonly notes: readonly string[] } {
  if (hosts.length === 0 || hosts.some(({ capacity }) => fits(capacity, amountOf(spec))))
    return { spec, notes: [] };
  const [best] = hosts
    .map(({ capacity }) => {
      const all = inApiUnits(capacity);
      const cpus = request.cpus ? spec.cpus : Math.min(spec.cpus, all.cpus);
      const memoryGb = request.memory_gb ? spec.memoryGb : Math.min(spec.memoryGb, all.memory_gb);
      return {
        cpus,
        memoryGb,
        fits: cpus > 0 && memoryGb > 0 && fits(capacity, amountOf({ cpus, memoryGb })),
      };
    })
    .filter((one) => one.fits)
    .sort((a, b) => b.cpus - a.cpus || b.memoryGb - a.memoryGb);
  if (!best) return { spec, notes: [] };
  const { cpus, memoryGb } = best;
  const lowered = [
    ['cpus', spec.cpus, cpus],
    ['memory_gb', spec.memoryGb, memoryGb],
  ] as const;
  return {
    spec: { ...spec, cpus, memoryGb },
    notes: lowered.flatMap(([field, from, to]) =>
      from === to ? [] : [`No host has the default \`${field}\` of ${from}: the job gets ${to}.`],
    ),
  };
}

/**
 * Where no host is known, one may come.
 * @param notes what was lowered before, so that the figures are recognised
 * @throws FlashpodsError unsatisfiable_resources when no host could ever run it
 */
export function refuseUnsatisfiable(
  known: readonly KnownHost[],
  wanted: Amount,
  notes: readonly string[] = [],
): void {
  if (known.length === 0) return;
  if (known.some(({ capacity }) => fits(capacity, wanted))) return;
  const largest = known.reduce((a, b) => (b.capacity.cpusMilli > a.capacity.cpusMilli ? b : a)).capacity;
  throw new FlashpodsError(
    'unsatisfiable_resources',
    [`No host has ${inWords(wanted)}; the largest has ${inWords(largest)}.`, ...notes].join(' '),
    {
      details: {
        requested: inApiUnits(wanted),
        hosts: known.map((host) => ({ name: host.name, ...inApiUnits(host.capacity) })),
      },
    },
  );
}

/** @throws FlashpodsError quota_exceeded when the job could not start beside what its owner's others hold */
export async function refuseHolding(
  queue: Pick<JobQueue, 'usage'>,
  owner: string,
  limits: TenantLimits,
  wanted: Amount,
): Promise<void> {
  if (limits.runningJobs === null && limits.cpus === null && limits.memoryGb === null) return;
  const used = (await queue.usage().catch(queueAway)).get(owner);
  refuseBeyond(limits, { jobs: used?.runningJobs ?? 0, ...(used ?? NOTHING) }, wanted);
}

/** @throws FlashpodsError insufficient_resources, always: it could not start now */
export async function refuseBusy(queue: Pick<JobQueue, 'capacity'>, wanted: Amount): Promise<never> {
  const report = await queue.capacity().catch(queueAway);
  const up = report.hosts.filter((host) => host.state === 'up');
  const best = up.reduce<(typeof up)[number] | null>(
    (a, b) => (a && a.free.cpusMilli >= b.free.cpusMilli ? a : b),
    null,
  );
  const message = up.some(({ free }) => fits(free, wanted))
    ? 'The free room is kept for jobs that are already waiting.'
    : 'There is no room for this job now.';
  throw new FlashpodsError('insufficient_resources', message, {
    details: {
      requested: inApiUnits(wanted),
      available: inApiUnits(best?.free ?? NOTHING),
      host_capacity: inApiUnits(best?.capacity ?? NOTHING),
      running_jobs: report.hosts.reduce((sum, host) => sum + host.runningJobs, 0),
    },
  });
}

function queueAway(cause: unknown): never {
  const message = 'The queue does not answer, so free room is unknown.';
  throw new FlashpodsError('service_unavailable', message, { cause });
}
