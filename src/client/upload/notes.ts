/** What a person or an agent should know of an upload, in sentences. */
import type { RawName } from '../../trees/directory.ts';
import { shown, someOf } from './names.ts';
import type { LeftBehind, Tree } from './tree.ts';

const MOST_RULES = 4;

/** `left behind: 3 entries: node_modules/ (usual: node_modules/), a.o and b.o (.gitignore: *.o)`; null for none. */
export function leftBehindNote({ leftBehind }: Pick<Tree, 'leftBehind'>): string | null {
  if (leftBehind.length === 0) return null;
  const byRule = new Map<string, LeftBehind[]>();
  for (const one of leftBehind) byRule.set(one.rule, [...(byRule.get(one.rule) ?? []), one]);
  const groups = [...byRule].sort(([, a], [, b]) => b.length - a.length);
  const named = groups.slice(0, MOST_RULES).map(([rule, found]) => `${someOf(found.map(nameOf))} (${rule})`);
  const rest = groups.slice(MOST_RULES).reduce((sum, [, found]) => sum + found.length, 0);
  const more = rest === 0 ? '' : `, and ${rest} by other rules`;
  const entries = leftBehind.length === 1 ? '1 entry' : `${leftBehind.length} entries`;
  return `left behind: ${entries}: ${named.join(', ')}${more}`;
}

const nameOf = ({ path, isDirectory }: LeftBehind): string => `${shown(path)}${isDirectory ? '/' : ''}`;

/** What was gone when its turn came; null for nothing. */
export const vanishedNote = (vanished: readonly RawName[]): string | null =>
  vanished.length === 0
    ? null
    : `gone or replaced while it was sent, and left out: ${someOf(vanished.map(shown))}`;

/** A tree of no files is rarely meant; null for any other. */
export function emptyNote({
  files,
  entries,
  leftBehind,
}: Pick<Tree, 'files' | 'entries' | 'leftBehind'>): string | null {
  if (files > 0 || entries.some(({ type }) => type === 'symlink')) return null;
  return leftBehind.length === 0
    ? 'the directory holds no files, so /work is empty'
    : 'no file is left to send, so /work is empty: all of them stay behind';
}
