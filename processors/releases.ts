/** Reservations that this host gives back. */
import type { Semaphore } from '../queues/semaphore/semaphore.ts';
import { dispatchId } from '../src/ids.ts';

interface Release {
  readonly jobId: string;
  readonly epoch: number;
}

export class Releases {
  readonly #semaphore: Pick<Semaphore, 'release'>;
  /** Those that Redis has not confirmed. */
  readonly #owed = new Map<string, Release>();

  constructor(semaphore: Pick<Semaphore, 'release'>) {
    this.#semaphore = semaphore;
  }

  /** Gives back what a dispatch holds: now, or when Redis answers again. Never throws. */
  release(jobId: string, epoch: number): void {
    this.#owed.set(dispatchId(jobId, epoch), { jobId, epoch });
    void this.retry().catch(() => undefined);
  }

  /** Tries all that is owed. A synchronisation would find it as well, later. @throws when Redis is away */
  async retry(): Promise<void> {
    for (const [id, { jobId, epoch }] of this.#owed) {
      await this.#semaphore.release(jobId, epoch);
      this.#owed.delete(id);
    }
  }
}
