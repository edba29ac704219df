import { watch, type FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import { Bell } from '../timing/bell.ts';

/** Until the kernel tells of changes (no such directory yet, no inotify watch left), the file is looked at so often. */
const BLIND_POLL_MS = 50;
/** An event that was lost is made up for after this time. */
const FALLBACK_POLL_MS = 500;

/**
 * Tells when a file that may not exist yet has changed. It watches the file's directory, so that creation is
 * seen as well; many changes at once wake once.
 */
export class SpoolWatch {
  readonly #directory: string;
  readonly #name: string;
  readonly #bell = new Bell();
  #watcher: FSWatcher | null = null;
  #watching = false;

  constructor(path: string) {
    this.#directory = dirname(path);
    this.#name = basename(path);
  }

  /** Begins to watch, as soon as the directory is there. */
  start(): void {
    this.#watching = true;
    this.#arm();
    this.notify();
  }

  /** Ends watching; `wait` goes on to be woken by `notify`. */
  stop(): void {
    this.#watching = false;
    this.#watcher?.close();
    this.#watcher = null;
  }

  readonly notify = (): void => this.#bell.ring();

  /** Resolves after a change or a `notify` since the last wait, and at the latest after `maxMs`. */
  async wait(maxMs: number = FALLBACK_POLL_MS): Promise<void> {
    if (this.#watching && this.#watcher === null) this.#arm();
    const blind = this.#watching && this.#watcher === null;
    await this.#bell.wait(blind ? Math.min(maxMs, BLIND_POLL_MS) : maxMs);
  }

  #arm(): void {
    try {
      const watcher = watch(this.#directory, { persistent: true }, (_event, name) => {
        if (name === null || name === this.#name) this.notify();
      });
      watcher.on('error', () => {
        watcher.close();
        if (this.#watcher === watcher) this.#watcher = null;
      });
      this.#watcher = watcher;
      // What was written before the watch stood is found by looking once.
      this.notify();
    } catch {
      // No directory yet, or no watch to be had: `wait` polls and tries again.
      this.#watcher = null;
    }
  }
}
