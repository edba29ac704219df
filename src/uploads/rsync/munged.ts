import { bytesOfName, type Directory, type RawName } from '../../trees/directory.ts';
import type { TreeTimes } from '../../trees/times.ts';
import type { Scratch } from '../base.ts';

/** What rsync puts before the target of every symlink where it can't lock a writer into the tree (rsyncd.conf(5)). */
const PREFIX = '/rsyncd-munged/';

/**
 * Gives symlinks that rsync made harmless their targets back, and their times. Nobody may write into the tree; can be
 * done again. Their directories get another time by it, which is set back here as well.
 * @param times of the whole tree
 */
export async function restoreSymlinks(
  tree: Directory,
  scratch: Scratch,
  times: TreeTimes,
  path: readonly RawName[] = [],
): Promise<void> {
  const below: RawName[] = [];
  const before = await tree.handle.stat({ bigint: true });
  let wasChanged = false;
  for await (const name of tree.names()) {
    const stats = await tree.statExactly(name);
    if (stats.isDirectory()) below.push(name);
    if (!stats.isSymbolicLink()) continue;
    const target = await tree.readLink(name);
    if (!target.startsWith(PREFIX)) continue;
    if (bytesOfName(target).length === PREFIX.length) continue;
    wasChanged = true;
    const temporary = scratch.newName();
    await scratch.directory.makeSymlink(temporary, target.slice(PREFIX.length));
    await scratch.directory.rename(temporary, tree, name);
    await times.set([...path, name], stats.mtimeNs);
  }
  if (wasChanged) await times.set(path, before.mtimeNs);
  for (const name of below) {
    const child = await tree.openDirectoryByForce(name);
    try {
      await restoreSymlinks(child, scratch, times, [...path, name]);
    } finally {
      await child.close();
    }
  }
}
