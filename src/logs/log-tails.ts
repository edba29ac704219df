/** Logs that grow, read by many at once: listeners of one job share a watch on its file and what is read of it. */
import { type FSWatcher, watch } from 'node:fs';
import { logPaths } from './log-parts.ts';
import { readRecords } from './log-reader.ts';
import type { LogFollowing, LogRecords } from './log-store.ts';

/** Of one page; a single record may be larger, it is never larger than 64 KiB of text. */
const PAGE_BYTES = 64 * 1024;
/** A job that prints without pause wakes its listeners at most this often. */
const GATHER_MS = 15;

export class LogTails {
  readonly #logsDir: string;
  readonly #tails = new Map<string, Tail>();

  constructor(logsDir: string) {
    this.#logsDir = logsDir;
  }

  /** Calls `wake` when the job's log may have grown; it need not exist yet. */
  follow(jobId: string, wake: () => void): LogFollowing {
    let tail = this.#tails.get(jobId);
    if (!tail) {
      tail = new Tail(this.#logsDir, jobId);
      this.#tails.set(jobId, tail);
    }
    const joined = tail;
    joined.listeners.add(wake);
    return {
      page: (offset, notBefore) => joined.page(offset, notBefore),
      get watched() {
        return joined.watched;
      },
      stop: () => {
        joined.listeners.delete(wake);
        if (joined.listeners.size > 0) return;
        joined.close();
        if (this.#tails.get(jobId) === joined) this.#tails.delete(jobId);
      },
    };
  }
}

class Tail {
  readonly listeners = new Set<() => void>();
  readonly #logsDir: string;
  readonly #jobId: string;
  #watcher: FSWatcher | null = null;
  #changedAt = 0;
  #gathering: NodeJS.Timeout | null = null;
  #again = false;
  #last: {
    readonly offset: number;
    readonly begunAt: number;
    readonly page: Promise<LogRecords | null>;
  } | null = null;

  constructor(logsDir: string, jobId: string) {
    this.#logsDir = logsDir;
    this.#jobId = jobId;
  }

  get watched(): boolean {
    return this.#watcher !== null;
  }

  page(offset: number, notBefore: number): Promise<LogRecords | null> {
    const last = this.#last;
    if (last?.offset === offset && last.begunAt >= Math.max(notBefore, this.#changedAt)) return last.page;
    // Before the read, so that nothing falls between the two.
    this.#arm();
    const page = readRecords(this.#logsDir, this.#jobId, { offset }, { maxBytes: PAGE_BYTES });
    this.#last = { offset, begunAt: performance.now(), page };
    // A failure is shared by those who wait already, and by nobody later.
    page.catch(() => {
      if (this.#last?.page === page) this.#last = null;
    });
    return page;
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = null;
    if (this.#gathering) clearTimeout(this.#gathering);
    this.#gathering = null;
  }

  /** The index is written after the log: what it tells of can be read. */
  #arm(): void {
    if (this.#watcher || this.listeners.size === 0) return;
    try {
      const watcher = watch(logPaths(this.#logsDir, this.#jobId).index, () => this.#changed());
      watcher.on('error', () => {
        watcher.close();
        if (this.#watcher === watcher) this.#watcher = null;
      });
      this.#watcher = watcher;
    } catch {
      // No log yet, or no watch to be had: listeners look by themselves until there is one.
    }
  }

  #changed(): void {
    this.#changedAt = performance.now();
    if (this.#gathering) {
      this.#again = true;
      return;
    }
    for (const wake of this.listeners) wake();
    this.#gathering = setTimeout(() => {
      this.#gathering = null;
      if (!this.#again) return;
      this.#again = false;
      this.#changed();
    }, GATHER_MS);
  }
}
