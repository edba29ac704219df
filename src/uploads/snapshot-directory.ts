/** Where snapshots lie in one directory; see {@link LocalSnapshotStore}. */
import { chown, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import type { TreeIds } from './tree.ts';
import { inodeOf, pathOf } from './upload-paths.ts';

export const BESIDE = { layer: '.layer', scratch: '.links', going: '.going' } as const;
/** As which it becomes a layer of a job's root file system: what is beside it there would be seen as well. */
const TREE = 'work';

export class SnapshotDirectory {
  readonly path: string;
  readonly ids: TreeIds | null;

  constructor(path: string, ids: TreeIds | null) {
    this.path = path;
    this.ids = ids;
  }

  /** Names of an upload begin with this path. */
  of(id: string): string {
    return pathOf(this.path, id);
  }

  beside(id: string, what: keyof typeof BESIDE): string {
    return `${this.of(id)}${BESIDE[what]}`;
  }

  tree(id: string): string {
    return join(this.beside(id, 'layer'), TREE);
  }

  async has(id: string): Promise<boolean> {
    return (await inodeOf(this.tree(id))) !== null || (await inodeOf(this.of(id))) !== null;
  }

  /** Where the tree is, in the way of this version if it is nowhere. */
  async found(id: string): Promise<string> {
    const isOld = (await inodeOf(this.tree(id))) === null && (await inodeOf(this.of(id))) !== null;
    return isOld ? this.of(id) : this.tree(id);
  }

  async takeOver(id: string, tree: string): Promise<void> {
    const layer = this.beside(id, 'layer');
    await mkdir(layer, { recursive: true, mode: 0o755 });
    if (this.ids !== null) await chown(layer, this.ids.uid, this.ids.gid);
    await rename(tree, this.tree(id)).catch(async (error: unknown) => {
      // Several jobs may want a reusable one at once.
      if (systemCode(error) !== 'ENOENT' || (await inodeOf(this.tree(id))) === null) throw error;
    });
  }
}
