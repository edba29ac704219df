/** Where loop mounts are not to be had: a plain directory, measured again and again. */
import { mkdirSync } from 'node:fs';
import { messageOf } from '../../../errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { command } from '../host/command.ts';
import { type DiskOwner, type DiskUse, type JobDisk, makeJobDirectories } from './disk.ts';
import type { SandboxPaths } from '../sandbox/sandbox.ts';

const MEASURE_EVERY_MS = 2_000;
/** A measurement may take this share of the time at most. */
const DUTY = 0.1;

export interface WatchedDiskOptions {
  readonly owner: DiskOwner;
  /** Removes a directory of files that belong to ids of the container. */
  readonly removeForeign: (directory: string) => Promise<void>;
  /** Called once, when a job has more on its disk than it may. */
  readonly onExceeded: (paths: SandboxPaths, usedBytes: number) => void;
  readonly logger: Pick<Logger, 'warn'>;
}

interface Watched {
  readonly limit: number;
  use: DiskUse;
  timer: NodeJS.Timeout;
}

export class WatchedDisk implements JobDisk {
  readonly kind = 'watch';
  readonly #options: WatchedDiskOptions;
  readonly #watched = new Map<string, Watched>();

  constructor(options: WatchedDiskOptions) {
    this.#options = options;
  }

  make(paths: SandboxPaths, bytes: number): Promise<void> {
    mkdirSync(paths.disk, { recursive: true });
    makeJobDirectories(paths, this.#options.owner);
    this.watch(paths, bytes);
    return Promise.resolve();
  }

  watch(paths: SandboxPaths, bytes: number): void {
    if (!this.#watched.has(paths.directory)) {
      const watched: Watched = {
        limit: bytes,
        use: { usedBytes: 0, full: false, writtenBytes: null },
        timer: this.#schedule(paths, MEASURE_EVERY_MS),
      };
      this.#watched.set(paths.directory, watched);
    }
  }

  use(paths: SandboxPaths): DiskUse | null {
    return this.#watched.get(paths.directory)?.use ?? null;
  }

  async remove(paths: SandboxPaths): Promise<void> {
    this.#forget(paths);
    await this.#options.removeForeign(paths.disk);
  }

  /** Stops measuring; disks stay. */
  close(): void {
    for (const { timer } of this.#watched.values()) clearTimeout(timer);
    this.#watched.clear();
  }

  #forget(paths: SandboxPaths): void {
    clearTimeout(this.#watched.get(paths.directory)?.timer);
    this.#watched.delete(paths.directory);
  }

  #schedule(paths: SandboxPaths, delayMs: number): NodeJS.Timeout {
    return setTimeout(() => void this.#measure(paths), delayMs).unref();
  }

  async #measure(paths: SandboxPaths): Promise<void> {
    const began = performance.now();
    try {
      // Allocated blocks, not lengths: a sparse file costs what it holds. Files vanish while du looks: not an error.
      const output = await command('/bin/sh', '-c', 'du -sxk "$1" 2>/dev/null || true', 'sh', paths.disk);
      const usedBytes = Number(output.split('\t')[0]) * 1024;
      const watched = this.#watched.get(paths.directory);
      if (!watched) return;
      const full = watched.use.full || usedBytes > watched.limit;
      const first = full && !watched.use.full;
      watched.use = { usedBytes, full, writtenBytes: null };
      if (first) this.#options.onExceeded(paths, usedBytes);
    } catch (error) {
      this.#options.logger.warn(
        { directory: paths.disk, reason: messageOf(error) },
        'could not measure a disk',
      );
    }
    const watched = this.#watched.get(paths.directory);
    const tookMs = performance.now() - began;
    if (watched) watched.timer = this.#schedule(paths, Math.max(MEASURE_EVERY_MS, tookMs / DUTY));
  }
}
