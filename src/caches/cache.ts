/**
 * Caches: directories that jobs of one owner find again, such as that of npm. A job reads one, and what it changes there
 * is thrown away with it; one of mode `write` that completed replaces it. See docs/caches.md.
 */

export const CACHE_MODES = ['read', 'write', 'none'] as const;
export type CacheMode = (typeof CACHE_MODES)[number];

/** A cache as a job may name it. */
export interface GivenCache {
  readonly name: string;
  readonly path?: string | undefined;
  readonly mode?: CacheMode | undefined;
}

/** The same with all that is in force. */
export interface JobCache {
  readonly name: string;
  /** In the container. */
  readonly path: string;
  readonly mode: CacheMode;
}

/** The scope whose caches are read where a job's own scope has none. */
export const DEFAULT_SCOPE = 'default';

/** Which one it is. */
export interface CacheKey {
  readonly owner: string;
  readonly name: string;
  readonly scope: string;
}

/** A cache as a host keeps it. Times: milliseconds since the Unix epoch. */
export interface HostCache extends CacheKey {
  /** Where the job that wrote it had it. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly writtenAt: number;
  /** Id of the job. */
  readonly writtenBy: string;
  readonly usedAt: number;
  /** Jobs that found it. */
  readonly hits: number;
}

/** Caches that are to go from the hosts that have them. */
export interface CacheRemoval {
  /** Whose: null is everybody's. */
  readonly owner: string | null;
  readonly name: string;
  /** Null: of every scope. */
  readonly scope: string | null;
}

export const isMeant = (cache: CacheKey, { owner, name, scope }: CacheRemoval): boolean =>
  (owner === null || cache.owner === owner) &&
  cache.name === name &&
  (scope === null || cache.scope === scope);
