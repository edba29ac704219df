/**
 * Podman's service may die between having the OCI runtime make a container and writing down that it did. From then on
 * every start fails, because the runtime knows the container already. Its command has not begun: Podman starts it only
 * after it wrote that down, and the runtime itself is asked here.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

const MONITOR_GONE_WITHIN_MS = 5_000;
const LOOK_MS = 10;

/** Whether the runtime refused to make a container because it has it: what both crun and runc say. */
export const isHalfMade = (message: string): boolean =>
  /container (with given ID|`?[0-9a-f]{64}`?) already exists/.test(message);

/**
 * Takes away what the runtime has of a container whose command has not begun, and waits for the monitor that Podman
 * had given it, so that the next start finds nothing of it.
 * @param runtime name or path of the OCI runtime
 * @returns false when the runtime says anything else than `created`; then nothing was changed
 */
export async function dropHalfMade(runtime: string, id: string): Promise<boolean> {
  const asked = await execa(runtime, ['state', id], { reject: false });
  if (asked.exitCode !== 0) return true; // gone by now
  const { status } = JSON.parse(asked.stdout) as { status: string };
  if (status !== 'created') return false;
  await execa(runtime, ['delete', '--force', id]);
  const deadline = performance.now() + MONITOR_GONE_WITHIN_MS;
  while (hasMonitor(id) && performance.now() < deadline) await delay(LOOK_MS);
  return true;
}

function hasMonitor(id: string): boolean {
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words[0]?.endsWith('conmon') === true && words.includes(id);
    } catch {
      return false; // it has ended while we looked
    }
  });
}
