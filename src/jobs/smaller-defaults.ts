/** Defaults on a farm whose hosts are all smaller than they. */
import { amountOf, fits, inApiUnits } from './amount.ts';
import type { JobRequest, JobSpec } from './description/types.ts';
import type { KnownHost } from './ports.ts';

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
