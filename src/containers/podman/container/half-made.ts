/**
 * Podman's service may die between having the OCI runtime do something and writing down that it did. What is true then
 * only the runtime knows, and it is asked here.
 *
 * Made and not written down: every start fails, because the runtime knows the container already. Its command has not
 * begun; Podman starts it only after it wrote that down.
 *
 * Begun and not written down: Podman calls the container `initialized` for ever. It can't be started, because it runs,
 * and Podman does not see it end.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

const MONITOR_GONE_WITHIN_MS = 5_000;
const LOOK_MS = 10;

/** Whether the runtime refused to make a container because it has it: what both crun and runc say. */
export const isHalfMade = (message: string): boolean =>
  /container (with given ID|`?[0-9a-f]{64}`?) already exists/.test(message);

/** What Podman calls a container that the runtime has made and that it has not seen begin. */
export const INITIALIZED = 'initialized';

/**
 * What the OCI runtime knows of a container; null: nothing. `stopped` only when its monitor has written the exit code
 * down and is gone; until then it counts as `running`.
 * @param runtime name or path of the OCI runtime
 */
export async function runtimeStatus(
  runtime: string,
  id: string,
): Promise<'created' | 'running' | 'stopped' | null> {
  const asked = await execa(runtime, ['state', id], { reject: false });
  if (asked.exitCode !== 0) return null;
  const { status } = JSON.parse(asked.stdout) as { status: string };
  if (status === 'created') return status;
  return status === 'stopped' && !hasMonitor(id) ? 'stopped' : 'running';
}

/**
 * Takes away what the runtime has of a container whose command has not begun, and waits for the monitor that Podman
 * had given it, so that the next start finds nothing of it.
 * @param runtime name or path of the OCI runtime
 * @returns false when the runtime says anything else than `created`; then nothing was changed
 */
export async function dropHalfMade(runtime: string, id: string): Promise<boolean> {
  const status = await runtimeStatus(runtime, id);
  if (status === null) return true; // gone by now
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
