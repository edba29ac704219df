import { dirname } from 'node:path';
import type { Tree, TreeEntry } from './tree.ts';

export interface Changes {
  /** What has to be sent: what is new or differs, and the directories above it. */
  readonly tree: Tree;
  /** Topmost paths that the earlier upload had and this tree lacks. */
  readonly deleted: readonly string[];
}

/** What of a tree differs from an earlier upload of it. */
export function changesSince(tree: Tree, earlier: ReadonlyMap<string, string | null>): Changes {
  const present = new Map(tree.entries.map((entry) => [entry.path, entry.type]));
  const differs = ({ path, stamp }: TreeEntry): boolean => stamp === null || earlier.get(path) !== stamp;
  const wanted = new Set<string>();
  for (const entry of tree.entries) {
    if (!differs(entry)) continue;
    // A directory that is only made on the way to a file would have another mode than its own.
    for (let path = entry.path; path !== '.' && !wanted.has(path); path = dirname(path)) wanted.add(path);
  }
  const entries = tree.entries.filter(({ path }) => wanted.has(path));

  const gone = new Set([...earlier.keys()].filter((path) => !present.has(path)));
  const isBelowGone = (path: string): boolean => {
    const parent = dirname(path);
    // What lay below something that is no directory any longer goes with it.
    return gone.has(parent) || (parent !== '.' && present.has(parent) && present.get(parent) !== 'directory');
  };
  return {
    tree: {
      ...tree,
      entries,
      files: entries.filter(({ type }) => type === 'file').length,
      bytes: entries.reduce((sum, { size }) => sum + size, 0),
    },
    deleted: [...gone].filter((path) => !isBelowGone(path)),
  };
}
