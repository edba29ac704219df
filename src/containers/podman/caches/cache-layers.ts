/**
 * The layers of a cache and one job: how they are mounted for it, and how what it changed becomes a layer. On the disk
 * of a host all files of a layer belong to one id, 0; in a job they belong to its user.
 *
 * ```
 * <sandbox>/cache-0                the overlay, which the container has at its path
 *           cache-0-layer-1        a layer, mounted only while the overlay is
 * <disk>/cache-0-changes, -overlay what the job changes, on its own disk
 * ```
 */
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CacheMount, Mount } from '../../mounts.ts';
import { unmountAll } from '../disks/mounts.ts';
import { longCommand } from '../host/command.ts';
import type { JobUser } from '../rootfs/job-user.ts';
import { ids, type Step } from '../rootfs/mounting.ts';
import type { SandboxPaths } from '../sandbox/paths.ts';

/** A lower layer where there is no other: an overlay needs one. */
const NOTHING = 'nothing';
/** What an entry costs its owner at least, as one of an upload does. */
const ENTRY_BYTES = 4_096;
/** A copy that takes longer than this is not for keeping. */
const SAVE_MS = 30 * 60_000;

const changesOf = ({ disk }: SandboxPaths, { directory }: CacheMount): string =>
  join(disk, `${directory}-changes`);

const cachesOf = (mounts: readonly Mount[]): CacheMount[] => mounts.filter((mount) => mount.kind === 'cache');

/** Mounts them; before anything enters the root. Each step can be repeated. */
export function cacheSteps(
  paths: SandboxPaths,
  mounts: readonly Mount[],
  { uid, gid, idBase }: Pick<JobUser, 'uid' | 'gid'> & { readonly idBase: number },
): Step[] {
  const caches = cachesOf(mounts);
  if (caches.length === 0) return [];
  const owners = [ids(0, idBase + uid, 1), ids(0, idBase + gid, 1)];
  return [
    ['give', join(paths.directory, NOTHING), '755', idBase, idBase],
    // The options of a mount are one page for all layers: short names, from here.
    ['chdir', paths.directory],
    ...caches.flatMap((cache): Step[] => {
      const { directory, layers } = cache;
      const names = layers.map((_, at) => `${directory}-layer-${at}`);
      const places = names.map((name) => join(paths.directory, name));
      const changes = changesOf(paths, cache);
      const work = join(paths.disk, `${directory}-overlay`);
      return [
        ['give', changes, '-', idBase + uid, idBase + gid],
        ['give', work, '700', idBase, idBase],
        ...layers.map((layer, at): Step => ['map', layer, places[at] ?? '', 'ro', ...owners]),
        [
          'overlay',
          join(paths.directory, directory),
          [...names, ...(names.length === 0 ? [NOTHING] : [])].join(':'),
          changes,
          work,
          'nofollow',
        ],
        ...places.map((place): Step => ['unmount', place]), // the overlay has it by itself
      ];
    }),
  ];
}

/** Where they are in the root, inside of it. What is missing on the way there in a home or in `/work` is the user's. */
export const cachePlaces = (
  mounts: readonly Mount[],
  { uid, home }: Pick<JobUser, 'uid' | 'home'>,
  root: number,
): Step[] =>
  cachesOf(mounts).flatMap(({ target }): Step[] => {
    const isTheirs = [home, '/home/job', '/work'].some((above) => target.startsWith(`${above}/`));
    return isTheirs
      ? [
          ['ids', root + uid],
          ['plain', target],
          ['ids', root],
        ]
      : [['plain', target]];
  });

/** See `Sandbox.saveCache`. */
export async function saveCache(
  paths: SandboxPaths,
  mount: CacheMount,
  target: string,
  makeRoom: (weight: number) => Promise<void>,
  stop: AbortSignal,
): Promise<number | null> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(SAVE_MS)]);
  await unmountAll(join(paths.directory, mount.directory));
  const changes = changesOf(paths, mount);
  if (!existsSync(changes) || !lstatSync(changes).isDirectory() || readdirSync(changes).length === 0)
    return null;
  const weight = await weightOf(changes, signal);
  await makeRoom(weight);
  // Attributes say which directories hide those under them. No owner is kept: all of it is root's then.
  const keep = '--preserve=mode,timestamps,links,xattr';
  await humbly(signal, 'cp', '-dR', keep, '--reflink=auto', '-T', '--', changes, target);
  await humbly(
    signal,
    'find',
    target,
    '!',
    '-type',
    'l',
    '-perm',
    '/6000',
    '-exec',
    'chmod',
    'ug-s',
    '{}',
    '+',
  );
  return weight;
}

/** What a layer counts: its bytes, and no less than its entries weigh. */
export async function weightOf(directory: string, signal: AbortSignal): Promise<number> {
  const measure = async (...what: string[]): Promise<number> =>
    Number((await humbly(signal, 'du', '--summarize', ...what, '--', directory)).split('\t')[0]);
  const bytes = await measure('--block-size=1');
  return Math.max(bytes, (await measure('--inodes')) * ENTRY_BYTES);
}

/** Others come first, and it ends with this process. */
export const humbly = (signal: AbortSignal, ...argv: string[]): Promise<string> =>
  longCommand(signal, 'setpriv', '--pdeathsig', 'KILL', 'nice', '-n', '10', ...argv);
