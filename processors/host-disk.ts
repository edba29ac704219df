/** How much of this host's disk jobs may reserve: what they hold, what is free, less a rest that nobody touches. */
import { statfsSync, statSync } from 'node:fs';
import type { DiskMeasure, HostDisk } from '../queues/semaphore/semaphore.ts';
import type { Config } from '../src/config.ts';
import type { ContainerRuntime } from '../src/containers/runtime.ts';
import { readBootId } from '../src/files/boot.ts';
import { mibOfBytes } from '../src/jobs/amount.ts';

export class DiskRoom {
  readonly #runtime: Pick<ContainerRuntime, 'disks'>;
  readonly #directory: string;
  readonly #restBytes: number;
  /** Of the file system that sandboxes lie on. */
  readonly terms: HostDisk;

  /** @param directory of the sandboxes; it must be there */
  constructor(
    runtime: Pick<ContainerRuntime, 'disks'>,
    directory: string,
    { minFreeDiskMb, jobDiskMb }: Pick<Config, 'minFreeDiskMb' | 'jobDiskMb'>,
  ) {
    this.#runtime = runtime;
    this.#directory = directory;
    this.#restBytes = minFreeDiskMb * 2 ** 20;
    this.terms = { mostMib: jobDiskMb, place: `${readBootId()} ${statSync(directory).dev}` };
  }

  /** What jobs could reserve if nothing else lay there, MiB. */
  get wholeMib(): number {
    const { blocks, bsize } = statfsSync(this.#directory);
    return mibOfBytes(Math.max(0, blocks * bsize - this.#restBytes));
  }

  /** What is free now beside the rest, and what dispatches have written. */
  measure(): DiskMeasure {
    // In this order what a job writes meanwhile is missing in both, and not counted twice.
    const held = this.#runtime
      .disks()
      .map(({ jobId, epoch, bytes }) => ({ jobId, epoch, mib: mibOfBytes(bytes) }));
    return { freeMib: mibOfBytes(this.#freeBytes()), held };
  }

  /** Whether others than jobs have eaten of the rest. */
  isFull(): boolean {
    return this.#freeBytes() < 0;
  }

  /** Beside the rest. */
  #freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#directory);
    return bavail * bsize - this.#restBytes;
  }
}
