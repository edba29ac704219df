/** Names in the directories of uploads: what belongs to an upload begins with its id. */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ifMissing } from '../files/if-missing.ts';

/** The path of an upload's tree. @throws plain Error for what is not a single harmless segment */
export function pathOf(directory: string, id: string): string {
  if (!/^[^/\0]+$/.test(id) || id === '.' || id === '..') {
    throw new Error(`not an upload's id: ${JSON.stringify(id)}`);
  }
  return join(directory, id);
}

/** Names in a directory; none when there is no such directory. */
export const namesIn = (directory: string): Promise<string[]> => readdir(directory).catch(ifMissing([]));

/** The ids to which the names in `directory` belong, once each. */
export async function idsIn(directory: string, beside: Readonly<Record<string, string>>): Promise<string[]> {
  const suffixes = Object.values(beside);
  const names = await namesIn(directory);
  return [
    ...new Set(
      names.map((name) => {
        const suffix = suffixes.find((candidate) => name.endsWith(candidate));
        return suffix === undefined ? name : name.slice(0, -suffix.length);
      }),
    ),
  ];
}

export const inodeOf = async (path: string): Promise<number | null> =>
  (await lstat(path).catch(ifMissing(null)))?.ino ?? null;
