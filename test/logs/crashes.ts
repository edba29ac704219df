/** Crashes in the file system: from one step on nothing works any more, as for a process that was killed before it. */
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

type Methods = Record<string, (...args: unknown[]) => unknown>;

/** Does the work, and lets it die before its step number `at`; with Infinity it only counts. @returns the steps that there were */
export async function crashingAt(at: number, work: () => Promise<unknown>): Promise<number> {
  const file = await fs.open('/dev/null');
  const handles = Object.getPrototypeOf(file) as Methods;
  await file.close();
  const places = [
    [handles, ['write', 'truncate']],
    [fs as unknown as Methods, ['open', 'rm', 'rename']],
  ] as const;
  let steps = 0;
  const originals = places.flatMap(([of, names]) => names.map((name) => ({ of, name, original: of[name] })));
  for (const { of, name, original } of originals)
    of[name] = function (this: unknown, ...args: unknown[]): unknown {
      steps += 1;
      if (steps >= at) throw new Error('killed');
      return original?.apply(this, args);
    };
  syncBuiltinESMExports();
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Error) || error.message !== 'killed') throw error;
  } finally {
    for (const { of, name, original } of originals) if (original) of[name] = original;
    syncBuiltinESMExports();
  }
  return steps;
}
