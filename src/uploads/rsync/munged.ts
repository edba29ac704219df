import { bytesOfName, type Directory, type RawName } from '../../trees/directory.ts';
import type { Scratch } from '../base.ts';

/** What rsync puts before the target of every symlink where it can't lock a writer into the tree (rsyncd.conf(5)). */
const PREFIX = '/rsyncd-munged/';

/** Gives symlinks that rsync made harmless their targets back. Nobody may write into the tree; can be done again. */
export async function restoreSymlinks(tree: Directory, scratch: Scratch): Promise<void> {
  const below: RawName[] = [];
  for await (const name of tree.names()) {
    const stats = await tree.stat(name);
    if (stats.isDirectory()) below.push(name);
    if (!stats.isSymbolicLink()) continue;
    const target = await tree.readLink(name);
    if (!target.startsWith(PREFIX)) continue;
    if (bytesOfName(target).length === PREFIX.length) continue;
    const temporary = scratch.newName();
    await scratch.directory.makeSymlink(temporary, target.slice(PREFIX.length));
    await scratch.directory.setTimes(temporary, stats.mtime);
    await scratch.directory.rename(temporary, tree, name);
  }
  for (const name of below) {
    const child = await tree.openDirectoryByForce(name);
    try {
      await restoreSymlinks(child, scratch);
    } finally {
      await child.close();
    }
  }
}
