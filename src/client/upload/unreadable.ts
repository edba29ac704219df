import type { RawName } from '../../trees/directory.ts';
import { ClientError } from '../client-error.ts';
import { exactPattern, shown, someOf } from './names.ts';

export interface Unreadable {
  readonly path: RawName;
  readonly isDirectory: boolean;
  /** Of the system: EACCES. */
  readonly code: string;
}

const MOST = 20;

/** @throws ClientError upload_failed that names them, with what leaves them out, if there are any */
export function refuseUnreadable(directory: string, unsorted: readonly Unreadable[]): void {
  if (unsorted.length === 0) return;
  const found = [...unsorted].sort((a, b) => (a.path < b.path ? -1 : 1));
  const names = found.map(
    ({ path, isDirectory, code }) => `${shown(path)}${isDirectory ? '/' : ''} (${code})`,
  );
  const patterns = found
    .filter(({ path }) => path !== '.')
    .slice(0, MOST)
    .map(({ path, isDirectory }) => exactPattern(path, isDirectory));
  const options = patterns.map((pattern) => `--exclude '${pattern.replaceAll("'", `'\\''`)}'`).join(' ');
  const what = found.length === 1 ? 'an entry' : `${found.length} entries`;
  throw new ClientError(
    'upload_failed',
    `Nothing was sent: ${what} of ${directory} can't be read: ${someOf(names, MOST)}.`,
    {
      advice:
        patterns.length === 0
          ? 'Make the directory readable for you, or send another one.'
          : `Leave ${found.length === 1 ? 'it' : 'them'} out: ${options} (over MCP: "exclude":${JSON.stringify(patterns)}), or make ${found.length === 1 ? 'it' : 'them'} readable.`,
      details: { unreadable: names.slice(0, MOST), exclude: patterns },
    },
  );
}
