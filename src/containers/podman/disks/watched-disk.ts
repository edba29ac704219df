/** Where loop mounts are not to be had: a plain directory, measured again and again. */
import { messageOf } from '../../../errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { command } from '../host/command.ts';
import type { SandboxPaths } from '../sandbox/paths.ts';
import { type Disk, type DiskDirectory, type DiskOwner, type DiskUse, makeJobDirectories } from './disk.ts';
import { unmountAll } from './mounts.ts';

const MEASURE_EVERY_MS = 2_000;
/** A measurement may take this share of the time at most, but none waits longer than that for the next one. */
const DUTY = 0.1;
const WAIT_AT_MOST_MS = 10_000;
/** A disk that takes longer than that to measure is taken for one that is over its limit. */
const MEASURE_AT_MOST_S = 20;
/** As a loop disk has them: one for each of these bytes. */
const BYTES_AN_ENTRY = 16 * 1024;

/**
 * KiB and entries of $1, within $2 seconds. Allocated blocks, not lengths: a sparse file costs what it holds. Files that
 * vanish meanwhile are no failure; what may not be looked at is, since anything may be in there.
 */
const MEASURE = `export LC_ALL=C
for what in -k --inodes; do
  { said=$(timeout -s KILL "$2" du -sx "$what" "$1" 2>&1 >&3) || status=$?; } 3>&1
  if [ "\${status:-0}" -gt 1 ]; then exit "$status"; fi
  if printf '%s' "$said" | grep -qv 'No such file or directory$'; then exit 3; fi
done`;

export interface WatchedDiskOptions {
  readonly owner: DiskOwner;
  /** Removes a directory of files that belong to ids of the container. */
  readonly removeForeign: (directory: string) => Promise<void>;
  /** Runs a program that may look at such files. */
  readonly commandForeign: typeof command;
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

  discard(): Promise<void> {
    return Promise.resolve(); // nothing speaks against what is on it, see `check`
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
    const usage = await this.#look();
    if (measured === null || this.#measured !== measured) return;
    const usedBytes = usage?.bytes ?? measured.use.usedBytes;
    const isOver =
      usage === null || usedBytes > measured.limit || usage.entries > measured.limit / BYTES_AN_ENTRY;
    const full = measured.use.full || isOver;
    const first = full && !measured.use.full;
    measured.use = { usedBytes, full, writtenBytes: null };
    if (first) this.#options.onExceeded();
    const tookMs = performance.now() - began;
    this.#schedule(Math.max(MEASURE_EVERY_MS, Math.min(WAIT_AT_MOST_MS, tookMs / DUTY)));
  }

  /** @returns null when it can't be measured: a job must not get room by making that hard */
  async #look(): Promise<{ readonly bytes: number; readonly entries: number } | null> {
    try {
      const args = ['-c', MEASURE, 'sh', this.#paths.disk, String(MEASURE_AT_MOST_S)];
      // To run it as somebody who may look at everything costs a process more: only where that is needed.
      const output = await command('/bin/sh', ...args).catch(() =>
        this.#options.commandForeign('/bin/sh', ...args),
      );
      // No lines: there is no disk any more.
      const [kib = 0, entries = 0] = output.split('\n').map((line) => Number(line.split('\t')[0]));
      return { bytes: kib * 1024, entries };
    } catch (error) {
      this.#options.logger.warn(
        { directory: this.#paths.disk, reason: messageOf(error) },
        'a disk could not be measured; it counts as over its limit',
      );
      return null;
    }
  }
}
