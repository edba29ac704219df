import { readdir, readlink } from 'node:fs/promises';

/** Paths below a directory that this process holds open. */
export async function openFilesBelow(directory: string): Promise<string[]> {
  const targets = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return targets.filter((target) => target.startsWith(`${directory}/`));
}
