/** What shall befall a process of the product at a named step of its work. Carried out by `fixtures/role.ts`. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { eventually } from '../../support/eventually.ts';

/** Classes of the product whose methods are steps; `fs` stands for `node:fs/promises`. */
export type StepTarget =
  | 'Dispatcher'
  | 'DispatchRecords'
  | 'HostRuntime'
  | 'KnexJobQueries'
  | 'PodmanSandbox'
  | 'KnexJobStore'
  | 'KnexHostStore'
  | 'Leadership'
  | 'LocalArtifactStore'
  | 'Queue'
  | 'RedisJobQueue'
  | 'Semaphore'
  | 'Supervisor'
  | 'WaitingIndex'
  | 'fs';

export interface Fault {
  /** `Class.method` */
  readonly at: `${StepTarget}.${string}`;
  readonly when: 'before' | 'after';
  /** Counts the calls that match `containing`. Default 1. 0 means every one of them. */
  readonly nth?: number;
  /** Only calls whose arguments, as JSON, contain all of these; of a sandbox also the dispatch that is bound to it. */
  readonly containing?: readonly string[];
  /**
   * `hold`: this step waits until the file `release` is there while the rest of the process goes on; once it waits,
   * `release + '.reached'` is there. `throw`: it fails as if the resource were away. `delay`: a random pause of at
   * most `maxMs`. `amend`: its result, if it is an object, has these fields instead of its own.
   */
  readonly do:
    | 'SIGKILL'
    | 'SIGSTOP'
    | { readonly hold: string }
    | { readonly throw: string }
    | { readonly delay: { readonly maxMs: number } }
    | { readonly amend: Readonly<Record<string, unknown>> };
}

export interface Plan {
  readonly faults?: readonly Fault[];
  /** What the process is told as the boot of the kernel. */
  readonly bootId?: string;
}

/** Environment of a process that is to follow the plan. */
export const underPlan = (plan: Plan): Record<string, string> => ({ FAULTS_PLAN: JSON.stringify(plan) });

/** Resolves when a step waits at its `hold`. */
export const isHeld = (release: string): Promise<unknown> =>
  eventually(`a step is held for ${release}`, () => existsSync(`${release}.reached`));

/** Resolves when the process has stopped itself. */
export const isStopped = (pid: number): Promise<unknown> =>
  eventually(`process ${pid} is stopped`, async () =>
    / T /.test((await readFile(`/proc/${pid}/stat`, 'utf8')).slice(-400)),
  );
