/** Reservations that this host gives back. */
import type { Semaphore } from '../queues/semaphore/semaphore.ts';
import { dispatchId } from '../src/ids.ts';

interface Release {
  readonly jobId: string;
  readonly epoch: number;
}

export class Releases {
  readonly #semaphore: Pick<Semaphore, 'release'>;
  readonly #onReleased: () => void;
  /** Those that Redis has not confirmed. */
  readonly #owed = new Map<string, Release>();

  /** @param onReleased after some; does not throw */
  constructor(semaphore: Pick<Semaphore, 'release'>, onReleased: () => void = () => undefined) {
    this.#semaphore = semaphore;
    this.#onReleased = onReleased;
  }

  /** Gives back what a dispatch holds: now, or when Redis answers again. Never throws. */
  release(jobId: string, epoch: number): void {
    this.#owed.set(dispatchId(jobId, epoch), { jobId, epoch });
    void this.retry().catch(() => undefined);
  }

  /** Tries all that is owed. A synchronisation would find it as well, later. @throws when Redis is away */
  async retry(): Promise<void> {
    if (this.#owed.size === 0) return;
    for (const [id, { jobId, epoch }] of this.#owed) {
      await this.#semaphore.release(jobId, epoch);
      this.#owed.delete(id);
    }
    this.#onReleased();
  }
}
