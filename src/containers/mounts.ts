/**
 * What a job sees in its file system beside its image: a list, to which each feature adds its own. How a mount is made
 * on the host is the engine's (`podman/sandbox/mounts.ts`), by its kind.
 */

interface Place {
  /** What it belongs to: work, artifacts, caches, … */
  readonly feature: string;
  /** Absolute path in the container. Of two with the same one, a launch's takes the place of the sandbox's. */
  readonly target: string;
  /** Name of its directory in the sandbox, which no other mount has. */
  readonly directory: string;
}

export type Mount =
  /** A directory of the job's own disk, to write to. `mode`: its permissions, since any user of the image may write. */
  | (Place & { readonly kind: 'disk'; readonly mode: number })
  /** A host directory as it is, to read; null: an empty one. Others may see the same one. */
  | (Place & { readonly kind: 'snapshot'; readonly source: string | null })
  /** The same to write to: what the job changes lies on its disk, and nobody else sees it. */
  | (Place & { readonly kind: 'layered'; readonly source: string | null })
  /** Texts to read, by file name; made for this job alone. */
  | (Place & { readonly kind: 'files'; readonly files: Readonly<Record<string, string>> })
  | CacheMount;

/** Host directories over each other, the uppermost first, to write to: what the job changes lies on its disk. */
export interface CacheMount extends Place {
  readonly kind: 'cache';
  /** None: an empty directory. */
  readonly layers: readonly string[];
}

export const HOME = '/home/job';
export const WORK = { feature: 'work', target: '/work', directory: 'work' } as const;
export const ARTIFACTS = { feature: 'artifacts', target: '/artifacts', directory: 'artifacts' } as const;

/** What every sandbox has, for any job that is launched in it. Without a job's files its `/work` is empty. */
export const STANDING_MOUNTS: readonly Mount[] = [
  { kind: 'layered', ...WORK, source: null },
  { kind: 'disk', ...ARTIFACTS, mode: 0o777 },
  { kind: 'disk', feature: 'home', target: HOME, directory: 'home', mode: 0o777 },
  { kind: 'disk', feature: 'temporary files', target: '/tmp', directory: 'tmp', mode: 0o1777 },
  { kind: 'disk', feature: 'temporary files', target: '/var/tmp', directory: 'var-tmp', mode: 0o1777 },
];

/** @param source host directory of the job's files, or null */
export const workMount = (source: string | null, isWritable: boolean): Mount => ({
  kind: isWritable ? 'layered' : 'snapshot',
  ...WORK,
  source,
});

/** @param at place among the caches of the job */
export const cacheMount = (at: number, target: string, layers: readonly string[]): CacheMount => ({
  kind: 'cache',
  feature: 'caches',
  target,
  directory: `cache-${at}`,
  layers,
});

/** What a job is told in `/run/flashpods`; without files it has no such directory. */
export const runFilesMounts = (files: Readonly<Record<string, string>>): Mount[] =>
  Object.keys(files).length === 0
    ? []
    : [{ kind: 'files', feature: 'run files', target: '/run/flashpods', directory: 'run', files }];

/** The mounts of a launched sandbox: its own, each with the launch's in its place, then the launch's others. */
export function mergeMounts(standing: readonly Mount[], launched: readonly Mount[]): Mount[] {
  const byTarget = new Map([...standing, ...launched].map((mount) => [mount.target, mount]));
  return [...byTarget.values()];
}
