/**
 * A `/work` of a job's own: the snapshot with a layer on the job's disk over it. Others share the snapshot, or files
 * of it, so no writer may ever reach what is stored.
 */
import { command } from '../host/command.ts';
import { mountsBelow } from '../disks/mounts.ts';
import { type SandboxPaths, readJson, writeJson } from './sandbox.ts';

/** Remembers the snapshot for {@link layWork}, which may be called by another process. */
export function planWork(paths: SandboxPaths, snapshot: string): void {
  writeJson(paths.workPlan, { snapshot });
}

/** Makes `paths.work` if it was planned; the job's disk must be there. Idempotent. */
export async function layWork(paths: SandboxPaths): Promise<void> {
  const plan = readJson(paths.workPlan);
  if (typeof plan !== 'object' || plan === null || !('snapshot' in plan)) return;
  const snapshot = String(plan.snapshot);
  if (process.getuid?.() !== 0) {
    // Without the right to mount it is a copy, which costs no space where the file system can share blocks.
    // Written once it is whole: the job may have changed it by the next time.
    if ('laid' in plan) return;
    await command('cp', '-a', '--reflink=auto', `${snapshot}/.`, paths.work);
    writeJson(paths.workPlan, { snapshot, laid: true });
    return;
  }
  if (mountsBelow(paths.work).length > 0) return;
  const layers = { lowerdir: snapshot, upperdir: paths.workChanges, workdir: paths.workOverlay };
  const options = Object.entries(layers).map(([name, path]) => `${name}=${path.replace(/[\\:,]/g, '\\$&')}`);
  await command(
    'mount',
    '-n',
    '-t',
    'overlay',
    '-o',
    ['nosuid', 'nodev', ...options].join(','),
    'work',
    paths.work,
  );
}

/** The changes go with the disk. Idempotent. */
export async function removeWork(paths: SandboxPaths): Promise<void> {
  while (mountsBelow(paths.work).length > 0) {
    await command('umount', '-n', paths.work).catch(async (error: unknown) => {
      // Somebody still reads in there: out of sight now, gone when they are done.
      if (mountsBelow(paths.work).length === 0) return;
      await command('umount', '-n', '-l', paths.work).catch(() => {
        throw error;
      });
    });
  }
}
