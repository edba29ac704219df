/** SIGKILL to all of a job, until nothing of it is left. */
import { systemCode } from '../../../errors.ts';
import { pause } from '../../../timing/bell.ts';
import type { Cgroup } from '../cgroups/cgroups.ts';

const EVERY_MS = 5;
const DEADLINE_MS = 30_000;

/** @param whose for the error @throws plain Error for processes that do not end */
export async function killAll(cgroup: Cgroup, whose: string): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const pids = cgroup.processes();
    if (pids.length === 0) return;
    if (performance.now() > deadline)
      throw new Error(
        `${whose}: ${pids.length} processes do not end on SIGKILL (${pids.slice(0, 5).join(', ')})`,
      );
    // The lowest first: with PID 1 of a namespace the kernel takes all that are in it, forks included.
    if (!cgroup.killAll()) for (const pid of pids.toSorted((a, b) => a - b)) kill(pid);
    await pause(EVERY_MS);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}
