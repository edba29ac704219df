/** The bounded disk of a job: everything that it may write lies on it. */
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import type { SandboxPaths } from '../sandbox/sandbox.ts';

export interface DiskUse {
  readonly usedBytes: number;
  readonly full: boolean;
  /** Bytes that went to the disk so far, deleted ones included; null where only what is there can be seen. */
  readonly writtenBytes: number | null;
}

export interface JobDisk {
  readonly kind: 'loop' | 'watch';
  /** Makes the disk and its directories, or finds them as an earlier call left them. Idempotent. */
  make(paths: SandboxPaths, bytes: number): Promise<void>;
  /** Bounds a disk that an earlier process made, from here on. */
  watch(paths: SandboxPaths, bytes: number): void;
  /** The last that is known; null when there is no disk. Cheap and synchronous. */
  use(paths: SandboxPaths): DiskUse | null;
  /** Takes the disk away with all that is on it. Idempotent. */
  remove(paths: SandboxPaths): Promise<void>;
  /** Ends what this process does for its disks; the disks stay. */
  close(): void;
}

/** Who owns the job's directories on the host: root in the container, where ids are mapped by us. */
export interface DiskOwner {
  readonly idBase: number | null;
}

/** Directories that the job sees; open to every user of its image, since no other job ever sees them. */
export function makeJobDirectories(paths: SandboxPaths, { idBase }: DiskOwner): void {
  for (const [directory, mode] of [
    [paths.artifacts, 0o777],
    [paths.home, 0o777],
    [paths.tmp, 0o1777],
    [paths.varTmp, 0o1777],
    [paths.work, 0o755],
    [paths.workChanges, 0o755],
    [paths.workOverlay, 0o700],
    [paths.emptyWork, 0o755],
  ] as const) {
    mkdirSync(directory, { recursive: true });
    if (idBase !== null) chownSync(directory, idBase, idBase);
    chmodSync(directory, mode);
  }
}
