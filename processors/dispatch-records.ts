/**
 * What this host knows of the dispatches it holds, one small file each: the memory that tells "never created" from
 * "created and gone", and an ended job from a lost one, when the worker that held it is dead.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Usage, Verdict } from '../src/containers/runtime.ts';
import { ifMissing } from '../src/files/if-missing.ts';
import { isDraft, writeWhole } from '../src/files/write-whole.ts';
import { dispatchId } from '../src/ids.ts';
import { camelKeys } from '../src/jobs/description/names.ts';

/** Wall clock and uptime of when a job's time began, milliseconds; the uptime survives a clock that is set. */
export interface Since {
  readonly startedAt?: number;
  /** Of the record's boot. */
  readonly startedUptimeMs?: number;
}

export interface DispatchRecord extends Since {
  readonly jobId: string;
  readonly epoch: number;
  /** `installing`: its packages are being installed, and its time runs; nothing of the job itself exists. `created`: the container exists; it may or may not have been started. `started`: it ran. `ended`: see `end`. */
  readonly phase: 'installing' | 'created' | 'started' | 'ended';
  /** The kernel's boot in which this was written. */
  readonly bootId: string;
  readonly end?: {
    readonly exitCode: number | null;
    readonly endedAt: number;
    readonly verdict: Verdict;
    readonly logTruncated: boolean;
    /** The disk took no more of the log. */
    readonly logIncomplete: boolean;
    /** When its end had been asked for last, as its row said then: what the row says later was asked for afterwards. */
    readonly cancelSeen?: number | null;
  };
}

export class DispatchRecords {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async open(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#dir))
      if (isDraft(name) || name.endsWith('.tmp')) await rm(join(this.#dir, name), { force: true });
  }

  read(jobId: string, epoch: number): Promise<DispatchRecord | null> {
    return this.#read(this.#path(jobId, epoch));
  }

  /** Durable when it returns: a power cut can't undo it. */
  async write(record: DispatchRecord): Promise<void> {
    await writeWhole(this.#path(record.jobId, record.epoch), JSON.stringify(record), { durable: true });
  }

  remove(jobId: string, epoch: number): Promise<void> {
    return rm(this.#path(jobId, epoch), { force: true });
  }

  /** Every record that is here. */
  async all(): Promise<DispatchRecord[]> {
    const names = (await readdir(this.#dir)).filter((name) => name.endsWith('.json'));
    const records = await Promise.all(names.map((name) => this.#read(join(this.#dir, name))));
    return records.filter((record) => record !== null); // one that went meanwhile
  }

  async #read(path: string): Promise<DispatchRecord | null> {
    const text = await readFile(path, 'utf8').catch(ifMissing(null));
    return text === null ? null : withUsage(JSON.parse(text) as DispatchRecord);
  }

  #path(jobId: string, epoch: number): string {
    return join(this.#dir, `${dispatchId(jobId, epoch)}.json`);
  }
}

/** Versions before 27 November 2026 wrote the names of what a job had used in snake case: `peak_memory_bytes`. */
const withUsage = (record: DispatchRecord): DispatchRecord =>
  record.end === undefined
    ? record
    : {
        ...record,
        end: {
          ...record.end,
          verdict: { ...record.end.verdict, usage: camelKeys(record.end.verdict.usage) as Usage },
        },
      };
