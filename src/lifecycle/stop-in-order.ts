import type { Logger } from '../observability/logger.ts';

/** Steps of a stop, in order; what is begun last is put first. */
export type StopSteps = (readonly [name: string, stop: () => unknown])[];

/** Runs every step in order, also after one threw. @throws AggregateError of what was thrown */
export async function stopInOrder(steps: Readonly<StopSteps>, logger: Logger): Promise<void> {
  const failures: unknown[] = [];
  for (const [name, step] of steps) {
    try {
      await step();
    } catch (error) {
      logger.error({ err: error, step: name }, 'a step of the shutdown failed');
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'the shutdown was not clean');
}
