/**
 * What this host knows of the dispatches it holds, one small file each: the memory that tells "never created" from
 * "created and gone", and an ended job from a lost one, when the worker that held it is dead.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Verdict } from '../src/containers/runtime.ts';
import { systemCode } from '../src/errors.ts';
import { dispatchId } from '../src/ids.ts';

export interface JournalEntry {
  readonly jobId: string;
  readonly epoch: number;
  /** `created`: the container exists; it may or may not have been started. `started`: it ran. `ended`: see `end`. */
  readonly phase: 'created' | 'started' | 'ended';
  /** The kernel's boot in which this was written. */
  readonly bootId: string;
  /** Wall clock and uptime of the start, milliseconds; the uptime survives a clock that is set. */
  readonly startedAt?: number;
  readonly startedUptimeMs?: number;
  readonly end?: {
    readonly exitCode: number | null;
    readonly endedAt: number;
    readonly verdict: Verdict;
    readonly logTruncated: boolean;
    /** The disk took no more of the log. */
    readonly logIncomplete: boolean;
  };
}

export class HostJournal {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async open(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#dir)) {
      if (name.endsWith('.tmp')) await rm(join(this.#dir, name), { force: true });
    }
  }

  async read(jobId: string, epoch: number): Promise<JournalEntry | null> {
    try {
      return JSON.parse(await readFile(this.#path(jobId, epoch), 'utf8')) as JournalEntry;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    }
  }

  /** Durable when it returns: file and directory are synchronised, so that a power cut can't undo it. */
  async write(entry: JournalEntry): Promise<void> {
    const path = this.#path(entry.jobId, entry.epoch);
    const file = await open(`${path}.tmp`, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(entry));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(`${path}.tmp`, path);
    const dir = await open(this.#dir);
    try {
      await dir.sync();
    } finally {
      await dir.close();
    }
  }

  remove(jobId: string, epoch: number): Promise<void> {
    return rm(this.#path(jobId, epoch), { force: true });
  }

  /** Every dispatch of which something is written here. */
  async dispatches(): Promise<{ jobId: string; epoch: number }[]> {
    const found: { jobId: string; epoch: number }[] = [];
    for (const name of await readdir(this.#dir)) {
      const match = /^(job_[a-z0-9]{12})-(\d{1,9})\.json$/.exec(name);
      if (match?.[1] && match[2]) found.push({ jobId: match[1], epoch: Number(match[2]) });
    }
    return found;
  }

  #path(jobId: string, epoch: number): string {
    return join(this.#dir, `${dispatchId(jobId, epoch)}.json`);
  }
}
