/**
 * Which directory is meant: a copy of a data directory has the same files in it, and what they say of processes, mounts
 * and sockets is true of the original alone.
 */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readBootId } from './boot.ts';
import { ifThere } from './if-missing.ts';
import { readJsonFile, writeJsonFile } from './json-file.ts';

const FILE = 'place.json';

/**
 * Device, inode and birth of a directory, with the boot in which the device has this number. A rename keeps them, a copy
 * has others. @returns null when it is not there
 */
export function placeOf(directory: string): string | null {
  const found = ifThere(() => statSync(directory, { bigint: true }), null, 'ENOTDIR');
  return found && `${readBootId()} ${found.dev} ${found.ino}:${found.birthtimeNs}`;
}

/**
 * Whether a place that was written down is that of the directory. Devices of btrfs, LVM and NFS get other numbers at each
 * boot: over boots, inode and birth decide.
 */
export function isPlaceOf(recorded: unknown, directory: string): boolean {
  const place = placeOf(directory);
  if (place === null || typeof recorded !== 'string') return false;
  const [boot, device, own] = place.split(' ');
  const [thenBoot, thenDevice, then] = recorded.split(' ');
  return own === then && (boot !== thenBoot || device === thenDevice);
}

const markIn = (directory: string): unknown => {
  const mark = readJsonFile(join(directory, FILE));
  return typeof mark === 'object' && mark !== null && 'place' in mark ? mark.place : null;
};

/** Whether the directory is the copy of one that was marked. One that nobody has marked is none. */
export function isCopy(directory: string): boolean {
  const mark = markIn(directory);
  return mark !== null && !isPlaceOf(mark, directory);
}

/** Notes in the directory, which must be there, where it is in this boot. */
export function markPlace(directory: string): void {
  const place = placeOf(directory);
  if (markIn(directory) !== place) writeJsonFile(join(directory, FILE), { place });
}

/** Removes all that is in a directory that may not be there, and the mark of the one that is a copy last. */
export function emptyCopy(marked: string, emptied: string = marked): void {
  for (const name of ifThere(() => readdirSync(emptied), []))
    if (emptied !== marked || name !== FILE) rmSync(join(emptied, name), { recursive: true, force: true });
  rmSync(join(marked, FILE), { force: true });
}
