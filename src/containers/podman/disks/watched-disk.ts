/** Where loop mounts are not to be had: a plain directory, measured again and again. */
import { messageOf } from '../../../errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { command } from '../host/command.ts';
import type { SandboxPaths } from '../sandbox/paths.ts';
import { type Disk, type DiskDirectory, type DiskOwner, type DiskUse, makeJobDirectories } from './disk.ts';
import { unmountAll } from './mounts.ts';

const MEASURE_EVERY_MS = 2_000;
/** A measurement may take this share of the time at most. */
const DUTY = 0.1;

export interface WatchedDiskOptions {
  readonly owner: DiskOwner;
  /** Removes a directory of files that belong to ids of the container. */
  readonly removeForeign: (directory: string) => Promise<void>;
  /** Called once, when a job has more on its disk than it may. */
  readonly onExceeded: () => void;
  readonly logger: Pick<Logger, 'warn'>;
}

export class WatchedDisk implements Disk {
  readonly #paths: SandboxPaths;
  readonly #options: WatchedDiskOptions;
  /** Null while it is not measured. */
  #measured: { readonly limit: number; use: DiskUse } | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(paths: SandboxPaths, options: WatchedDiskOptions) {
    this.#paths = paths;
    this.#options = options;
  }

  make(bytes: number, directories: readonly DiskDirectory[]): Promise<void> {
    makeJobDirectories(this.#paths, directories, this.#options.owner);
    this.watch(bytes);
    return Promise.resolve();
  }

  watch(bytes: number): void {
    if (this.#measured !== null) return;
    this.#measured = { limit: bytes, use: { usedBytes: 0, full: false, writtenBytes: null } };
    this.#schedule(MEASURE_EVERY_MS);
  }

  use(): DiskUse | null {
    return this.#measured?.use ?? null;
  }

  check(): Promise<string | null> {
    return Promise.resolve(null); // the file system is everybody's, and so are its errors
  }

  heldBytes(): number {
    return this.use()?.usedBytes ?? 0;
  }

  async remove(): Promise<void> {
    this.close();
    await unmountAll(this.#paths.disk);
    await this.#options.removeForeign(this.#paths.disk);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#measured = null;
  }

  #schedule(delayMs: number): void {
    this.#timer = setTimeout(() => void this.#measure(), delayMs).unref();
  }

  async #measure(): Promise<void> {
    const began = performance.now();
    const measured = this.#measured;
    try {
      // Allocated blocks, not lengths: a sparse file costs what it holds. Files vanish while du looks: not an error.
      const du = 'du -sxk "$1" 2>/dev/null || true';
      const output = await command('/bin/sh', '-c', du, 'sh', this.#paths.disk);
      if (measured === null || this.#measured !== measured) return;
      const usedBytes = Number(output.split('\t')[0]) * 1024;
      const full = measured.use.full || usedBytes > measured.limit;
      const first = full && !measured.use.full;
      measured.use = { usedBytes, full, writtenBytes: null };
      if (first) this.#options.onExceeded();
    } catch (error) {
      this.#options.logger.warn(
        { directory: this.#paths.disk, reason: messageOf(error) },
        'could not measure a disk',
      );
    }
    const tookMs = performance.now() - began;
    if (this.#measured === measured) this.#schedule(Math.max(MEASURE_EVERY_MS, tookMs / DUTY));
  }
}
