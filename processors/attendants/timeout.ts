/** The minutes that a job may run: when they are over, its end is decided. */
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { readUptimeMs } from '../host-facts.ts';
import type { Attendant, Attended, Started } from './attendant.ts';

const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface TimeoutOptions extends Pick<Attended, 'job' | 'ending'> {
  readonly minuteMs: number;
  /** The kernel's boot of now. */
  readonly bootId: string;
}

export class Timeout implements Attendant {
  readonly #o: TimeoutOptions;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: TimeoutOptions) {
    this.#o = options;
  }

  started(_sandbox: Sandbox, started: Started): void {
    this.begin(started);
  }

  /** Its time runs. Calling it again corrects when it began. */
  begin(started: Started): void {
    const { ending } = this.#o;
    clearTimeout(this.#timer);
    const decide = (): void => void ending.decide('timeout').catch(() => undefined);
    this.#timer = setTimeout(decide, this.#remainingMs(started));
  }

  close(): Promise<void> {
    clearTimeout(this.#timer);
    return Promise.resolve();
  }

  /** By uptime where this boot started the job, so that no clock that is set matters. */
  #remainingMs({ record, startedAt }: Started): number {
    const { job, minuteMs, bootId } = this.#o;
    const elapsedMs =
      // guard: uptime
      record?.startedUptimeMs !== undefined && record.bootId === bootId
        ? readUptimeMs() - record.startedUptimeMs
        : Date.now() - (job.startedAt ?? startedAt ?? Date.now());
    return Math.min(Math.max(0, job.timeoutMinutes * minuteMs - elapsedMs), LONGEST_TIMER_MS);
  }
}
