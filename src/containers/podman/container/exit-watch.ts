/** Notices within about 10 ms that nothing of a job runs any more: one timer for all containers of a process. */
import type { AliveProbe } from '../cgroups/cgroups.ts';

/** One read of a cgroup file takes some microseconds. */
const LOOK_EVERY_MS = 10;
const SAMPLE_EVERY_LOOKS = 25;

interface Watched {
  readonly probe: AliveProbe;
  readonly onSample: () => void;
  readonly settle: (error?: unknown) => void;
}

export class ExitWatch {
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;
  #looks = 0;

  /**
   * Resolves as soon as the probe says that nothing runs. Closes the probe in every case.
   * @param onSample called four times a second meanwhile
   * @throws the signal's reason
   */
  empty(probe: AliveProbe, onSample: () => void, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => watched.settle(signal.reason);
    const watched: Watched = {
      probe,
      onSample,
      settle: (error) => {
        if (!this.#watched.delete(watched)) return;
        probe.close();
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve();
        else reject(error);
        if (this.#watched.size === 0) this.#stop();
      },
    };
    this.#watched.add(watched);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    if (this.#watched.size > 0) this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS);
    return promise;
  }

  close(): void {
    for (const watched of this.#watched) watched.settle(new Error('the container runtime was closed'));
  }

  #look(): void {
    this.#looks += 1;
    const sampling = this.#looks % SAMPLE_EVERY_LOOKS === 0;
    for (const watched of [...this.#watched]) {
      try {
        if (!watched.probe.alive()) watched.settle();
        else if (sampling) watched.onSample();
      } catch (error) {
        watched.settle(error);
      }
    }
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
