/** A sparse ext4 image on a loop device for each job: 5 ms to make, and it ends writes with ENOSPC by itself. */
import { rmSync, statSync, statfsSync } from 'node:fs';
import { readJsonFile, writeJsonFile } from '../../../files/json-file.ts';
import { messageOf } from '../../../errors.ts';
import { command, longCommand } from '../host/command.ts';
import type { SandboxPaths } from '../sandbox/paths.ts';
import { type Disk, type DiskDirectory, type DiskOwner, type DiskUse, makeJobDirectories } from './disk.ts';
import { bytesWrittenTo, countOf, loopDevices, mountsBelow, unmountAll } from './mounts.ts';

/** With less of free space writes fail: Linux from 6.16 on takes up to this much at once for a large one, or nothing. */
const FULL_BELOW_BYTES = 2 * 1024 * 1024;

/** Between two looks whether writes of a job that runs were lost. */
const LOOK_EVERY_MS = 1_000;

/** Longer than a slow disk takes for all that fits into memory; one that hangs counts as broken. */
const CHECK_MS = 600_000;

/**
 * Formats to a name of its own and renames: an image under its final name is whole. One shell for all steps,
 * because starting a process costs as much as any of them. `noinit_itable`: the kernel would otherwise zero tables
 * of inodes in the background that no job lives long enough to need. The lock: a worker that was killed leaves the shell
 * that it started, which goes on making the disk while the worker's successor makes it too.
 * $1 image, $2 mount point, whose directories become those of a new disk, $3 size in KiB
 */
const MAKE = `set -e
umask 077
exec 9>"$1.lock"
flock 9
if [ -e "$2/lost+found" ]; then exit 0; fi
if [ ! -e "$1" ]; then
  mkfs.ext4 -q -F -m 0 -O ^has_journal,^resize_inode -E lazy_itable_init=1,nodiscard -d "$2" "$1.new" "$3k"
  mv "$1.new" "$1"
fi
mount -n -t ext4 -o loop,nosuid,nodev,noatime,noinit_itable "$1" "$2"`;

export class LoopDisk implements Disk {
  readonly #paths: SandboxPaths;
  readonly #owner: DiskOwner;
  readonly #onFailing: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param onFailing as in `MakeDisk` */
  constructor(paths: SandboxPaths, owner: DiskOwner, onFailing: () => void = () => undefined) {
    this.#paths = paths;
    this.#owner = owner;
    this.#onFailing = onFailing;
  }

  async make(bytes: number, directories: readonly DiskDirectory[]): Promise<void> {
    const { disk, image, diskBaseline } = this.#paths;
    if (mountsBelow(disk).length > 0) return;
    // The image is made with a copy of these, and Podman wants to see them when it creates the container, which
    // may be before the mount.
    makeJobDirectories(this.#paths, directories, this.#owner);
    await command('/bin/sh', '-c', MAKE, 'sh', image, disk, String(Math.floor(bytes / 1024)));
    // A loop device that was used before goes on counting where its last user stopped.
    const device = mountsBelow(disk)[0]?.source;
    if (device !== undefined) writeJsonFile(diskBaseline, bytesWrittenTo(device) ?? 0);
  }

  /** How much the job writes, the kernel sees to. One whose writes are lost goes on for nothing, and keeps a disk full. */
  watch(): void {
    this.#timer ??= setInterval(() => {
      const device = mountsBelow(this.#paths.disk)[0]?.source;
      if (device === undefined || lostWritesOf(device) === null) return;
      this.close();
      this.#onFailing();
    }, LOOK_EVERY_MS).unref();
  }

  /** Mounts outlive the process that made them. */
  close(): void {
    clearInterval(this.#timer);
  }

  use(): DiskUse | null {
    const { disk } = this.#paths;
    const device = mountsBelow(disk)[0]?.source;
    if (device === undefined) return null;
    const { blocks, bfree, bavail, bsize, ffree } = statfsSync(disk);
    const usedBytes = (blocks - bfree) * bsize;
    return {
      usedBytes,
      full: bavail * bsize < FULL_BELOW_BYTES || ffree === 0,
      // What the page cache still holds has not reached the device, but counts as used.
      writtenBytes: Math.max((bytesWrittenTo(device) ?? 0) - this.#baseline(), usedBytes),
    };
  }

  /**
   * A write that the host's disk did not take shows in two ways: the next `syncfs` fails, unless the job called it first
   * and took no notice; and ext4 counts it, as a warning when it was data and as an error when it was its own.
   */
  async check(): Promise<string | null> {
    const { disk } = this.#paths;
    const device = mountsBelow(disk)[0]?.source;
    if (device === undefined) return null;
    try {
      await longCommand(AbortSignal.timeout(CHECK_MS), 'sync', '-f', disk);
    } catch (error) {
      return messageOf(error);
    }
    return lostWritesOf(device);
  }

  async discard(): Promise<void> {
    const { image } = this.#paths;
    const size = statSync(image, { throwIfNoEntry: false })?.size ?? 0;
    if (size > 0)
      await command('fallocate', '--punch-hole', '--offset', '0', '--length', String(size), image);
  }

  heldBytes(): number {
    return (statSync(this.#paths.image, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  }

  #baseline(): number {
    const baseline = readJsonFile(this.#paths.diskBaseline);
    return typeof baseline === 'number' ? baseline : Infinity;
  }

  async remove(): Promise<void> {
    this.close();
    const { disk, image } = this.#paths;
    await unmountAll(disk);
    // An attach that was cut before its mount has no mount to go away with.
    const device = loopDevices().get(image);
    if (device !== undefined)
      await command('losetup', '-d', device).catch((error: unknown) => {
        if (loopDevices().get(image) === device) throw error;
      });
    rmSync(image, { force: true });
    rmSync(`${image}.new`, { force: true });
  }
}

/** @returns in words that writes to a mounted device were lost; null: none were */
function lostWritesOf(device: string): string | null {
  const counted = ['errors_count', 'warning_count'].find((name) => countOf(device, name) > 0);
  return counted === undefined ? null : `${device} has counted I/O errors (${counted})`;
}
