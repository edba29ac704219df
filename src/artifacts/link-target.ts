/**
 * Targets of symlinks as they travel. A target is *plain* when it climbs first and then goes down, `../../a/b`, and does
 * not climb above the directory that all artifacts share. Where every link is plain and no directory is a link, no
 * chain of them leads out: what `..` after a name would mean depends on what the name is.
 */

/** Segments of a target that lead somewhere. */
export const stepsOf = (target: string): string[] =>
  target.split('/').filter((segment) => segment !== '' && segment !== '.');

/** As many bytes as Linux takes. */
const MAX_TARGET_BYTES = 4_095;

/** Whether a link below `depth` directories may be made with this target. */
export function isPlainTarget(target: string, depth: number): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0') || !target.isWellFormed())
    return false;
  if (Buffer.byteLength(target) > MAX_TARGET_BYTES) return false;
  const steps = stepsOf(target);
  const down = steps.findIndex((step) => step !== '..');
  const climbs = down === -1 ? steps.length : down;
  return climbs <= depth && !steps.slice(climbs).includes('..');
}

/** The plain target that leads from a directory to a path, both given from the root. */
export function plainTarget(directory: readonly string[], path: readonly string[]): string {
  let shared = 0;
  while (shared < directory.length && directory[shared] === path[shared]) shared++;
  const target = [...directory.slice(shared).map(() => '..'), ...path.slice(shared)].join('/');
  return target === '' ? '.' : target;
}
