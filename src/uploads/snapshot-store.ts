/**
 * Snapshots: the trees of finalized uploads, which no one changes again. They may be kept on another machine. Two
 * things happen on a disk of the caller's own: a tree that was received is handed over by `seal`, and the host of a
 * job has the snapshot as a directory by `materialise`.
 */
import type { RawName } from '../trees/directory.ts';
import type { TreeFacts } from './tree.ts';

export interface SnapshotStore {
  /** Whether the sealing of this upload has begun; it may be half done. */
  has(id: string): Promise<boolean>;
  /**
   * Makes a tree the snapshot of an upload: takes it over, so that nobody writes into it any longer, completes it from
   * its base, settles modes and ids, and measures it. Can be called again after a crash, when the tree may be gone.
   * @param tree a directory on this machine, made if it is not there
   * @throws FlashpodsError invalid_request for a tree that may not become a snapshot, upload_expired when its base is
   *   gone
   */
  seal(id: string, tree: string, options: SealOptions): Promise<TreeFacts>;
  /**
   * The snapshot as a directory of this machine, to be mounted read-only. It is named `work` and lies alone in its
   * directory, which so can be a layer of a job's root file system. It is there until the snapshot is deleted.
   * A snapshot that is not there is no error here: who mounts the directory learns of it.
   */
  materialise(id: string): Promise<string>;
  /** Deletes the snapshot and all that was left of its sealing. To delete what is not there is no error. */
  delete(id: string): Promise<void>;
  /** Ids of all that is stored, half sealed and half deleted ones included; strangers' names too. `delete` takes each. */
  list(): Promise<readonly string[]>;
}

export interface SealOptions {
  readonly base: Base | null;
  /** Whether symlinks that rsync made harmless may be in the tree. */
  readonly munged: boolean;
}

export interface Base {
  readonly id: string;
  /** Paths that are left out of the base. */
  readonly deletions: ReadonlySet<RawName>;
  /** The tree began as a copy of the base and lacks nothing of it. */
  readonly isFull: boolean;
}
