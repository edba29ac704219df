/** How the end of a container is noticed, and its exit code found. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ContainerState } from '../../runtime.ts';
import type { Cgroup } from '../cgroups/cgroups.ts';
import type { Container } from './container.ts';
import type { ExitWatch } from './exit-watch.ts';

/** Between two looks for an exit code, which conmon writes some milliseconds after the last process is gone. */
const SETTLE_FIRST_MS = 2;
const SETTLE_LAST_MS = 250;
/** Nothing runs and Podman still says `running`: its monitor was killed, so no exit code will ever come. */
const MONITOR_LOST_AFTER_MS = 10_000;

export interface Following {
  readonly container: Container;
  /** Null where Podman chose one. */
  readonly cgroup: Cgroup | null;
  readonly exits: ExitWatch;
  /** Takes note of what the kernel counted; called meanwhile, and at once when nothing runs any more. */
  readonly look: () => void;
  readonly signal: AbortSignal;
}

/**
 * Waits until nothing of a container runs and Podman knows how it ended.
 * @returns null when the container vanished; no exit code when nobody can know it any more
 * @throws the signal's reason
 */
export async function followToExit(following: Following): Promise<ContainerState | null> {
  const { container, cgroup, exits, look, signal } = following;
  let emptySince: number | null = null;
  let pauseMs = SETTLE_FIRST_MS;
  for (;;) {
    signal.throwIfAborted();
    const probe = cgroup?.aliveProbe() ?? null;
    if (probe) {
      await exits.empty(probe, look, signal);
      // At once: where Podman cleans up by itself, the counters are gone 50 ms later.
      look();
    }
    const state = await container.inspectPatiently(signal);
    if (state === null || state.phase === 'exited') return state;
    if (state.phase === 'running' && !probe && cgroup === null) await container.waitThroughPodman(signal);
    else if (state.phase === 'running') {
      emptySince ??= performance.now();
      if (performance.now() - emptySince > MONITOR_LOST_AFTER_MS) return withoutMonitor(state);
    } else emptySince = null;
    await delay(pauseMs, undefined, { signal });
    pauseMs = Math.min(pauseMs * 1.5, SETTLE_LAST_MS);
  }
}

const withoutMonitor = (state: ContainerState): ContainerState => ({
  ...state,
  phase: 'exited',
  exitCode: null,
  finishedAt: null,
});
