import { parentOf } from './names.ts';
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
  // A directory that is only made on the way to a file, or loses one, would have another mode or time than its own.
  const want = (from: string): void => {
    for (let path = from; !wanted.has(path); path = parentOf(path)) {
      wanted.add(path);
      if (path === '.') return;
    }
  };
  for (const entry of tree.entries) if (differs(entry)) want(entry.path);

  const gone = new Set([...earlier.keys()].filter((path) => !present.has(path)));
  const isBelowGone = (path: string): boolean => {
    const parent = parentOf(path);
    // What lay below something that is no directory any longer goes with it.
    return gone.has(parent) || (present.has(parent) && present.get(parent) !== 'directory');
  };
  for (const path of gone) if (present.get(parentOf(path)) === 'directory') want(parentOf(path));
  const entries = tree.entries.filter(({ path }) => wanted.has(path));
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
