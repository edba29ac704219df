/** Reservations that this host gives back. */
import type { Semaphore } from '../queues/semaphore/semaphore.ts';
import { dispatchId } from '../src/ids.ts';

interface Release {
  readonly jobId: string;
  readonly epoch: number;
  /** Disk stays: cpus and memory alone are given back. */
  readonly disk: boolean;
}

export class Releases {
  readonly #semaphore: Pick<Semaphore, 'release' | 'settle'>;
  readonly #onReleased: () => void;
  /** Those that Redis has not confirmed. */
  readonly #owed = new Map<string, Release>();

  /** @param onReleased after some; does not throw */
  constructor(semaphore: Pick<Semaphore, 'release' | 'settle'>, onReleased: () => void = () => undefined) {
    this.#semaphore = semaphore;
    this.#onReleased = onReleased;
  }

  /** Gives back what a dispatch holds: now, or when Redis answers again. Never throws. */
  release(jobId: string, epoch: number): void {
    this.#owe({ jobId, epoch, disk: true });
  }

  /** The same for cpus and memory alone: what the job wrote is still needed. */
  settle(jobId: string, epoch: number): void {
    this.#owe({ jobId, epoch, disk: false });
  }

  #owe(release: Release): void {
    this.#owed.set(dispatchId(release.jobId, release.epoch), release);
    void this.retry().catch(() => undefined);
  }

  /** Tries all that is owed. A synchronisation would find it as well, later. @throws when Redis is away */
  async retry(): Promise<void> {
    if (this.#owed.size === 0) return;
    for (const [id, owed] of this.#owed) {
      const { jobId, epoch, disk } = owed;
      await (disk ? this.#semaphore.release(jobId, epoch) : this.#semaphore.settle(jobId, epoch));
      // More may be owed by now.
      if (this.#owed.get(id) === owed) this.#owed.delete(id);
    }
    this.#onReleased();
  }
}
