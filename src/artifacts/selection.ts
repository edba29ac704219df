/** Which entries of a job's trees become artifacts, before a byte is copied. */
import type { TreeBudget } from '../trees/budget.ts';
import { rawName } from '../trees/directory.ts';
import type { ArtifactLimits } from './artifact-store.ts';
import { isPlainTarget, plainTarget } from './link-target.ts';
import { LinkFollower } from './links.ts';
import type { Entry, SourceTree } from './source-tree.ts';
import type { Warnings } from './warnings.ts';

/** Something that is to be an artifact. */
export interface Chosen {
  readonly name: string;
  readonly tree: SourceTree;
  readonly entry: Entry;
  /** Where its bytes are, of a file. */
  readonly source: readonly string[] | null;
  /** Of a link: what it is made with, and the name of the artifact that it leads to, if that is one. */
  readonly link: { readonly target: string; readonly to: string | null } | null;
}

export interface Selection {
  /** In the order of their names: files, links, and directories with nothing in them. */
  readonly chosen: readonly Chosen[];
  /** Directories that those lie in. */
  readonly parents: readonly Entry[];
}

const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : 0;

const ancestorsOf = (path: readonly string[]): string[] =>
  path.slice(0, -1).map((_, index) => path.slice(0, index + 1).join('/'));

/** Names of all directories that hold one of these. What is above one that is known is known too. */
function holdersOf(entries: readonly Pick<Entry, 'name'>[]): Set<string> {
  const holders = new Set<string>();
  for (const { name } of entries) {
    for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      const holder = name.slice(0, end);
      if (holders.has(holder)) break;
      holders.add(holder);
    }
  }
  return holders;
}

/**
 * The first tree wins where two have something of the same name. The limits hold in the order of the names, so that
 * the result does not depend on the file system's.
 */
export async function select(
  trees: readonly SourceTree[],
  options: { readonly limits: ArtifactLimits; readonly warnings: Warnings; readonly budget: TreeBudget },
): Promise<Selection> {
  const { limits, warnings } = options;
  const merged = merge(trees, warnings);
  const isFull = holdersOf([...merged.values()].map(({ entry }) => entry));
  const followers = new Map(
    trees.map((tree) => [tree, new LinkFollower(tree.mount, tree.look, options.budget)]),
  );
  const chosen: Chosen[] = [];
  const room = new Room(limits, warnings);
  for (const found of [...merged.values()].sort((a, b) => byName(a.entry, b.entry))) {
    const { tree, entry } = found;
    const { name } = entry;
    if (entry.kind === 'symlink') {
      const follower = followers.get(tree);
      const isThere = (path: string): boolean => path === '' || merged.has(path) || isFull.has(path);
      const taken = follower ? await followed(found, follower, isThere, warnings) : null;
      if (taken && room.takes(taken.entry, taken.source !== null)) chosen.push(taken);
    } else if (entry.kind === 'file') {
      if (room.takes(entry, true)) chosen.push({ name, tree, entry, source: entry.path, link: null });
    } else if (!isFull.has(name) && room.takes(entry, false)) {
      chosen.push({ name, tree, entry, source: null, link: null });
    }
  }
  room.report();
  return { chosen, parents: parentsOf(chosen, trees, limits, warnings) };
}

interface Found {
  readonly tree: SourceTree;
  readonly entry: Entry;
}

/** What is wanted of all trees, by name. */
function merge(trees: readonly SourceTree[], warnings: Warnings): Map<string, Found> {
  const merged = new Map<string, Found>();
  for (const tree of trees) {
    // Nothing of the first tree is in the way of anything.
    const earlier = tree === trees[0] ? new Map<string, Found>() : new Map(merged);
    for (const name of tree.wanted) {
      const entry = tree.entries.get(name);
      if (entry === undefined) continue;
      const rival = earlier.get(name);
      const isSameDirectory = entry.kind === 'directory' && rival?.entry.kind === 'directory';
      if (isSameDirectory) continue;
      const blocked =
        rival !== undefined ||
        (earlier.size > 0 ? ancestorsOf(entry.path) : []).some(
          (above) => (earlier.get(above)?.entry.kind ?? 'directory') !== 'directory',
        );
      if (blocked) {
        const winner = trees[0]?.mount ?? '';
        warnings.leftOut(
          name,
          `it lies in /${tree.mount}, and what /${winner} has of this name goes before it`,
        );
      } else merged.set(name, { tree, entry });
    }
  }
  return merged;
}

/** What becomes of a link: itself, the file that it leads to where that would be missing, or null with a warning. */
async function followed(
  { tree, entry }: Found,
  follower: LinkFollower,
  isThere: (path: string) => boolean,
  warnings: Warnings,
): Promise<Chosen | null> {
  const { name, target } = entry;
  if (target === null) return null;
  const leftOut = (reason: string): null => {
    warnings.leftOut(name, `a symlink ${reason}`);
    return null;
  };
  const directory = entry.path.slice(0, -1);
  const end = await follower.follow(directory, target);
  const isPlain = isPlainTarget(target, directory.length);
  const link = (text: string, to: string | null): Chosen => ({
    name,
    tree,
    entry,
    source: null,
    link: { target: text, to },
  });
  switch (end.kind) {
    case 'outside':
      return leftOut(`that leads out of /${tree.mount}`);
    case 'other':
      return leftOut('to something that is not a regular file');
    case 'exhausted':
      return leftOut('beyond those that could be followed');
    case 'loop':
      return isPlain ? link(target, null) : leftOut('in a loop');
    case 'missing':
      return link(isPlain ? target : plainTarget(directory, end.path), null);
    case 'file':
    case 'directory': {
      const to = end.path.join('/');
      if (isThere(to)) return link(isPlain ? target : plainTarget(directory, end.path), to);
      if (end.kind === 'directory') return leftOut('to a directory that no pattern matches');
      const stats = await statOf(tree, end.path);
      return stats ? { name, tree, entry: { ...entry, stats }, source: end.path, link: null } : null;
    }
  }
}

async function statOf(tree: SourceTree, path: readonly string[]): Promise<Entry['stats'] | null> {
  const raw = path.map(rawName);
  const last = raw.pop() ?? '';
  const directory = await tree.root.descend(raw);
  try {
    return await directory.statExactly(last);
  } finally {
    await directory.close();
  }
}

/** The limits, and what is said of those that exceed them. */
class Room {
  readonly #limits: ArtifactLimits;
  readonly #warnings: Warnings;
  #count = 0;
  #bytes = 0n;
  #tooMany = 0;

  constructor(limits: ArtifactLimits, warnings: Warnings) {
    this.#limits = limits;
    this.#warnings = warnings;
  }

  takes({ name, stats }: Entry, hasBytes: boolean): boolean {
    const { maxFileBytes, maxTotalBytes, maxFiles } = this.#limits;
    const size = hasBytes ? stats.size : 0n;
    if (this.#count >= maxFiles) {
      this.#tooMany++;
      return false;
    }
    if (size > maxFileBytes) {
      this.#warnings.leftOut(name, `${size} bytes, the limit for a file is ${maxFileBytes}`);
      return false;
    }
    if (this.#bytes + size > maxTotalBytes) {
      this.#warnings.leftOut(name, `with it all artifacts would have more than ${maxTotalBytes} bytes`);
      return false;
    }
    this.#count++;
    this.#bytes += size;
    return true;
  }

  report(): void {
    if (this.#tooMany === 0) return;
    const { maxFiles } = this.#limits;
    this.#warnings.note(
      `${this.#tooMany} more files were left out: the limit is ${maxFiles} files. Pack them into one archive, or ask for a higher FLASHPODS_ARTIFACT_MAX_FILES.`,
    );
  }
}

function parentsOf(
  chosen: readonly Chosen[],
  trees: readonly SourceTree[],
  { maxFiles }: ArtifactLimits,
  warnings: Warnings,
): Entry[] {
  const names = holdersOf(chosen.map(({ entry }) => entry));
  const parents = [...names].sort().flatMap((name) => {
    const entry = trees.map((tree) => tree.entries.get(name)).find((each) => each?.kind === 'directory');
    return entry ? [entry] : [];
  });
  if (parents.length > maxFiles) {
    warnings.note(`the modes and times of ${parents.length - maxFiles} directories are not kept`);
  }
  return parents.slice(0, maxFiles);
}
