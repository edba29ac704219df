/**
 * Which directory is meant: a copy of a data directory has the same files in it, and what they say of processes, mounts
 * and sockets is true of the original alone.
 */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ifThere } from './if-missing.ts';
import { readJsonFile, writeJsonFile } from './json-file.ts';

const FILE = 'place.json';

/** Device and inode of a directory. A rename keeps them, a copy has others. @returns null when it is not there */
export function placeOf(directory: string): string | null {
  const found = ifThere(() => statSync(directory, { bigint: true }), null, 'ENOTDIR');
  return found && `${found.dev}:${found.ino}`;
}

/** Whether the directory is the copy of one that was marked. One that nobody has marked is none. */
export function isCopy(directory: string): boolean {
  const mark = readJsonFile(join(directory, FILE));
  const place = typeof mark === 'object' && mark !== null && 'place' in mark ? mark.place : null;
  return place !== null && place !== placeOf(directory);
}

/** Notes in the directory, which must be there, where it is. */
export function markPlace(directory: string): void {
  const file = join(directory, FILE);
  const place = placeOf(directory);
  const mark = readJsonFile(file);
  if (typeof mark === 'object' && mark !== null && 'place' in mark && mark.place === place) return;
  writeJsonFile(file, { place });
}

/** Removes all that is in a directory that may not be there, and the mark of the one that is a copy last. */
export function emptyCopy(marked: string, emptied: string = marked): void {
  for (const name of ifThere(() => readdirSync(emptied), []))
    if (emptied !== marked || name !== FILE) rmSync(join(emptied, name), { recursive: true, force: true });
  rmSync(join(marked, FILE), { force: true });
}
