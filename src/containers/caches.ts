/**
 * The caches of a host: trees that jobs of one owner mount copy-on-write. A cache is a stack of layers that never change;
 * a job that completes puts what it has changed on top as one more. What is read is the old stack or the new one, also
 * after a crash.
 */
import type { CacheKey, CacheRemoval, HostCache } from '../caches/cache.ts';
import type { CacheMount } from './mounts.ts';
import type { Sandbox } from './sandbox.ts';

/** What a job gets of a cache. */
export interface OpenCache {
  /** Host directories of its layers, the uppermost first; none: it is cold. */
  readonly layers: readonly string[];
  /** What the job should be told, such as `cold, evicted yesterday`; null: nothing. */
  readonly notice: string | null;
  /** For when a sandbox is bound that has it: from then on the sandbox keeps it. */
  readonly release: () => void;
}

export interface Writing extends CacheKey {
  readonly jobId: string;
  readonly path: string;
  /** When the job began, milliseconds since the Unix epoch. What was removed since is not brought back. */
  readonly since: number;
}

export interface Caches {
  /** The one of its scope, else that of the default scope. A broken one is a cold one. */
  open(key: CacheKey): OpenCache;

  /**
   * Puts what a job has changed onto what it found. The container of the sandbox is gone. Where nothing changed, or it is
   * more than the owner may keep, all stays as it was.
   * @throws what the file system has against it; the reason of `signal`
   */
  publish(writing: Writing, sandbox: Sandbox, mount: CacheMount, signal: AbortSignal): Promise<void>;

  /** All of this host, of every owner. */
  list(): readonly HostCache[];

  /** A job that has one mounted keeps it until it ends, and does not bring it back. */
  remove(removal: CacheRemoval): Promise<void>;

  /** Deletes what is beyond the owners' share or the free space of the disk, what nobody has any more, and what a crash left. */
  trim(): Promise<void>;
}
