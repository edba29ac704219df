/** What accompanies a container for as long as it lives. */
import type { Sandbox } from '../../src/containers/sandbox.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { DispatchRecord } from '../dispatch-records.ts';
import type { Ending } from '../ending.ts';

/** The run whose container it is. */
export interface Attended {
  readonly job: Job;
  readonly ending: Ending;
  /** Aborted when this process gives the job up. */
  readonly detach: AbortSignal;
  readonly logger: Logger;
  /** Tries until it succeeds. */
  readonly ask: <T>(what: string, work: () => Promise<T>) => Promise<T>;
}

/** When the container was started, as far as it is known. */
export interface Started {
  readonly record: DispatchRecord | null;
  /** By the engine, ms since the Unix epoch. */
  readonly startedAt: number | null;
}

/** `ended`: nothing of the container runs any more. `detached`: it runs on, and another process takes it over. */
export type CloseReason = 'ended' | 'detached';

export interface Attendant {
  /** Before the container starts, or when a running one is taken over. @param sandbox null when nothing of one is left */
  open?(sandbox: Sandbox | null): Promise<void>;
  started?(sandbox: Sandbox, started: Started): void;
  /** May be called twice, and without `open`. What it began is over when it resolves. */
  close(reason: CloseReason): Promise<void>;
}

/** Attendants as one: opened in order, closed in the opposite one. */
export class Attendants implements Attendant {
  readonly #all: readonly Attendant[];

  constructor(all: readonly Attendant[]) {
    this.#all = all;
  }

  async open(sandbox: Sandbox | null): Promise<void> {
    for (const attendant of this.#all) await attendant.open?.(sandbox);
  }

  started(sandbox: Sandbox, started: Started): void {
    for (const attendant of this.#all) attendant.started?.(sandbox, started);
  }

  async close(reason: CloseReason): Promise<void> {
    await Promise.all(this.#all.toReversed().map((attendant) => attendant.close(reason)));
  }
}
