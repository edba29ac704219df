/** The bounded disk of a job: everything that it may write lies on it. */
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { SandboxPaths } from '../sandbox/paths.ts';

export interface DiskUse {
  readonly usedBytes: number;
  readonly full: boolean;
  /** Bytes that went to the disk so far, deleted ones included; null where only what is there can be seen. */
  readonly writtenBytes: number | null;
}

/** A directory at the root of a disk. */
export interface DiskDirectory {
  readonly name: string;
  readonly mode: number;
}

export interface Disk {
  /** Makes the disk and its directories, or finds them as an earlier call left them. Idempotent. */
  make(bytes: number, directories: readonly DiskDirectory[]): Promise<void>;
  /** Bounds a disk that an earlier process made, from here on. */
  watch(bytes: number): void;
  /** The last that is known; null when there is no disk. Cheap and synchronous. */
  use(): DiskUse | null;
  /**
   * Writes all out that is in memory only. For after the job's processes are gone.
   * @returns what speaks against believing what is on the disk; null: nothing does, or nothing can
   */
  check(): Promise<string | null>;
  /**
   * Gives the host the space of all that is on it, at once and without anything being written, because nobody believes it:
   * then what records the job's end has room. For after the job's processes are gone; it goes on being mounted.
   */
  discard(): Promise<void>;
  /** Bytes of the host's disk that it takes now. Cheap and synchronous. */
  heldBytes(): number;
  /** Takes the disk away with all that is on it. Idempotent. */
  remove(): Promise<void>;
  /** Ends what this process does for it; the disk stays. */
  close(): void;
}

/** How this host bounds disks. @param onExceeded called once, if a job has more on its disk than it may and still runs */
/** @param onFailing called once, while it is watched, when its job is to be ended: the disk takes no more of what it writes */
export type MakeDisk = (paths: SandboxPaths, onFailing: () => void) => Disk;

/** Who owns the job's directories on the host: root in the container, where ids are mapped by us. */
export interface DiskOwner {
  readonly idBase: number | null;
}

/** Open to every user of the job's image, since no other job ever sees them. */
export function makeJobDirectories(
  { disk }: SandboxPaths,
  directories: readonly DiskDirectory[],
  { idBase }: DiskOwner,
): void {
  mkdirSync(disk, { recursive: true });
  for (const { name, mode } of directories) {
    const path = join(disk, name);
    mkdirSync(path, { recursive: true });
    if (idBase !== null) chownSync(path, idBase, idBase);
    chmodSync(path, mode);
  }
}
