/** Which cores of the machine a job may run on: as many as it has cpus, so that `nproc` and runtimes see that number. */

/** @param list as the kernel writes it: `0-3,5` */
export const coresOf = (list: string): number[] =>
  list
    .trim()
    .split(',')
    .filter(Boolean)
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, at) => first + at);
    });

/**
 * The least used ones. Where jobs have more cpus together than the machine has cores, they share them; one that has more
 * alone gets them all.
 * @param inUse of each job that has some
 */
export function chooseCores(
  all: readonly number[],
  inUse: readonly (readonly number[])[],
  cpus: number,
): number[] {
  const users = new Map(all.map((core) => [core, 0]));
  for (const core of inUse.flat()) users.set(core, (users.get(core) ?? 0) + 1);
  return all
    .toSorted((a, b) => (users.get(a) ?? 0) - (users.get(b) ?? 0) || a - b)
    .slice(0, Math.max(1, Math.ceil(cpus)))
    .sort((a, b) => a - b);
}
