import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { readFully, writeFully } from '../files/read-fully.ts';
import { backedRecords, type LogPaths } from './log-files.ts';
import {
  breaksLine,
  flagsAt,
  type IndexRecord,
  PARTIAL,
  readRecord,
  RECORD_BYTES,
  viewOf,
} from './log-index.ts';
import { SpoolEncoder } from './spool-encoder.ts';

/** The two files, at the position up to which both are whole. */
export class LogWriter {
  readonly encoder: SpoolEncoder;
  readonly #log: FileHandle;
  readonly #index: FileHandle;
  #logSize: number;
  #records: number;
  #lines: number;
  /** A commit failed in the middle. */
  #torn = false;

  private constructor(encoder: SpoolEncoder, log: FileHandle, index: FileHandle, records: number) {
    this.encoder = encoder;
    this.#log = log;
    this.#index = index;
    this.#logSize = encoder.batch.logEnd;
    this.#lines = encoder.batch.lines;
    this.#records = records;
  }

  static async open(paths: LogPaths, maxBytes: number): Promise<LogWriter> {
    await mkdir(dirname(paths.log), { recursive: true, mode: 0o700 });
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const log = await open(paths.log, flags, 0o600);
    try {
      const index = await open(paths.index, flags, 0o600);
      try {
        const records = await backedRecords(index, (await log.stat()).size);
        const resume = records === 0 ? undefined : await lastRecord(index, records);
        await index.truncate(records * RECORD_BYTES);
        await log.truncate(resume?.last.logEnd ?? 0);
        return new LogWriter(new SpoolEncoder({ maxBytes, resume }), log, index, records);
      } catch (error) {
        await index.close();
        throw error;
      }
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  /** What is on disk. */
  get written(): { readonly bytes: number; readonly lines: number } {
    return { bytes: this.#logSize, lines: this.#lines };
  }

  /** Writes the batch, the log before its index. After a failure it may be called again. */
  async commit(): Promise<void> {
    const { batch } = this.encoder;
    if (batch.isEmpty) return;
    const { log, index } = batch;
    this.#torn = true;
    await writeFully(this.#log, log, this.#logSize);
    await writeFully(this.#index, index, this.#records * RECORD_BYTES);
    this.#torn = false;
    this.#logSize += log.length;
    this.#records += index.length / RECORD_BYTES;
    this.#lines = batch.lines;
    batch.clear();
  }

  /** Cuts off what a failed commit left, and closes. */
  async close(): Promise<void> {
    try {
      // Only then: a successor may have written more already.
      if (this.#torn) {
        await this.#index.truncate(this.#records * RECORD_BYTES);
        await this.#log.truncate(this.#logSize);
      }
    } finally {
      await this.#log.close();
      await this.#index.close();
    }
  }
}

const lastRecord = async (
  index: FileHandle,
  records: number,
): Promise<{ readonly last: IndexRecord; readonly lines: number }> => {
  const perRead = 32_768;
  const buffer = Buffer.allocUnsafe(Math.min(records, perRead) * RECORD_BYTES);
  const view = viewOf(buffer);
  let lines = 0;
  let previous = 0;
  let last: IndexRecord | null = null;
  for (let first = 0; first < records; first += perRead) {
    const count = Math.min(perRead, records - first);
    await readFully(index, buffer.subarray(0, count * RECORD_BYTES), first * RECORD_BYTES);
    for (let i = 0; i < count; i++) {
      const flags = flagsAt(view, i);
      if (breaksLine(flags, previous)) lines++;
      if ((flags & PARTIAL) === 0) lines++;
      previous = flags;
    }
    last = readRecord(view, count - 1);
  }
  if (last === null) throw new Error('an index without records has no last one');
  return { last, lines };
};
