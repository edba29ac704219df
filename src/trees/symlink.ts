import { systemCode } from '../errors.ts';
import type { Directory, RawName } from './directory.ts';

/** As many as Linux follows. */
const MAX_LINKS = 40;
/** Bounds the work that one hostile link can make. */
const MAX_STEPS = 1000;

export type Resolution =
  | { readonly kind: 'file'; readonly directory: readonly RawName[]; readonly name: RawName }
  | { readonly kind: 'directory' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'loop' }
  | { readonly kind: 'outside' };

/** Segments of a link's target that lead somewhere. */
export const segmentsOf = (target: RawName): RawName[] =>
  target.split('/').filter((segment) => segment !== '' && segment !== '.');

/**
 * Where a symlink in `directory` (segments below `root`, none of them a symlink) leads, followed by hand so that
 * the kernel never leaves the tree. `mount` is the directory of `/` at which the tree is seen by whoever made the
 * link: absolute targets below it, and `..` out of it and back, stay inside. Null: those are outside. What lies
 * behind something missing is taken as if it were directories.
 */
export const resolveSymlink = async (
  root: Directory,
  directory: readonly RawName[],
  target: RawName,
  mount: RawName | null,
): Promise<Resolution> => {
  let links = 1;
  let missing = false;
  // Where it stands: segments below the root, or null for the directory that holds `mount`.
  let here: RawName[] | null = target.startsWith('/') ? null : [...directory];
  const ahead = segmentsOf(target).reverse();
  for (let steps = 0; ; steps++) {
    if (here === null && mount === null) return { kind: 'outside' };
    const segment = ahead.pop();
    if (segment === undefined) break;
    if (steps > MAX_STEPS) return { kind: 'loop' };
    if (here === null) {
      if (segment === '..') continue;
      if (segment !== mount) return { kind: 'outside' };
      here = [];
    } else if (segment === '..') {
      if (here.length === 0) here = null;
      else here.pop();
    } else {
      const found = missing ? null : await lookAt(root, here, segment);
      if (found === null) {
        missing = true;
        here.push(segment);
      } else if (typeof found === 'string') {
        if (++links > MAX_LINKS) return { kind: 'loop' };
        if (found.startsWith('/')) here = null;
        ahead.push(...segmentsOf(found).reverse());
      } else if (found.isDirectory) here.push(segment);
      else if (ahead.length === 0) return { kind: 'file', directory: here, name: segment };
      else return { kind: 'missing' };
    }
  }
  if (here === null) return { kind: 'outside' };
  return { kind: missing ? 'missing' : 'directory' };
};

/** @returns a symlink's target, or what else it is; null when there is nothing. */
const lookAt = async (
  root: Directory,
  path: readonly RawName[],
  name: RawName,
): Promise<RawName | { readonly isDirectory: boolean } | null> => {
  try {
    const directory = await root.descend(path);
    try {
      const stats = await directory.stat(name);
      return stats.isSymbolicLink() ? await directory.readLink(name) : { isDirectory: stats.isDirectory() };
    } finally {
      await directory.close();
    }
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EINVAL'].includes(systemCode(error) ?? ''))
      return null;
    throw error;
  }
};
