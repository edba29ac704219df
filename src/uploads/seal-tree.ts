/** The making of a snapshot: see `SnapshotStore.seal`. Done in a tree process, since it walks what a caller sent. */
import { mkdir } from 'node:fs/promises';
import { FlashpodsError, systemCode } from '../errors.ts';
import { Directory } from '../trees/directory.ts';
import { removeTree } from '../trees/remove-tree.ts';
import { TreeTimes } from '../trees/times.ts';
import { completeFromBase, Scratch, shareWithBase } from './base.ts';
import { restoreSymlinks } from './rsync/munged.ts';
import { SnapshotDirectory } from './snapshot-directory.ts';
import type { Base, SealOptions } from './snapshot-store.ts';
import { settleTree, type TreeFacts, type TreeIds } from './tree.ts';
import { inodeOf } from './upload-paths.ts';

export interface SealRequest extends SealOptions {
  /** Of all snapshots. */
  readonly directory: string;
  readonly ids: TreeIds | null;
  readonly id: string;
  readonly tree: string;
}

export async function sealTree({
  directory: path,
  ids,
  id,
  tree,
  base,
  munged,
}: SealRequest): Promise<TreeFacts> {
  const snapshots = new SnapshotDirectory(path, ids);
  await mkdir(path, { recursive: true, mode: 0o700 });
  if (!(await snapshots.has(id))) {
    await mkdir(tree, { recursive: true, mode: 0o755 });
    await snapshots.takeOver(id, tree);
  }
  if (base !== null || munged) await complete(snapshots, id, base, munged);
  return settleTree(await snapshots.found(id), ids);
}

async function complete(
  snapshots: SnapshotDirectory,
  id: string,
  base: Base | null,
  munged: boolean,
): Promise<void> {
  const path = snapshots.beside(id, 'scratch');
  await removeTree(path);
  await mkdir(path, { mode: 0o700 });
  const directory = await Directory.open(path);
  const tree = await Directory.open(await snapshots.found(id));
  const times = new TreeTimes(tree);
  try {
    const scratch = new Scratch(directory);
    if (munged) await restoreSymlinks(tree, scratch, times);
    if (base !== null) await layOver(snapshots, tree, base, scratch, times);
    await times.close();
  } finally {
    await times.abandon();
    await tree.close();
    await directory.close();
    await removeTree(path);
  }
}

async function layOver(
  snapshots: SnapshotDirectory,
  tree: Directory,
  base: Base,
  scratch: Scratch,
  times: TreeTimes,
): Promise<void> {
  const gone = (): FlashpodsError =>
    new FlashpodsError('upload_expired', 'The base of this upload is gone; create an upload without one.');
  const path = await snapshots.found(base.id);
  const before = await inodeOf(path);
  if (before === null) throw gone();
  try {
    const from = await Directory.open(path);
    try {
      if (base.isFull) await shareWithBase(tree, from, scratch, times);
      else await completeFromBase(tree, from, base.deletions, times);
    } finally {
      await from.close();
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT' && (await inodeOf(path)) !== before) throw gone();
    throw error;
  }
  // A snapshot leaves its name before anything of it is deleted: under its name it was whole.
  if ((await inodeOf(path)) !== before) throw gone();
}
