import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { mkdir, open, stat, truncate } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../errors.ts';
import { backedRecords, logPaths, readFully } from './log-files.ts';
import type { LogPaths } from './log-files.ts';
import { RECORD_BYTES, breaksLine, flagsAt, PARTIAL, readRecord, viewOf } from './log-index.ts';
import type { IndexRecord } from './log-index.ts';
import { type CaptureOptions, DEFAULT_MAX_LOG_BYTES, type LogCapture, type LogResult } from './log-store.ts';
import { SpoolEncoder } from './spool-encoder.ts';
import { SpoolWatch } from './spool-watch.ts';

const CHUNK_BYTES = 512 * 1024;
/** At most one read in this time for a job that prints line after line. */
const COALESCE_MS = 5;
const RETRY_MS = 500;
/**
 * A line that is unfinished for so long (a prompt, a progress bar) is written as far as it goes, at most a second
 * later. Shorter would cut lines in two that are printed in several writes while the other stream prints as well.
 */
const UNFINISHED_MS = 500;
/** With a full disk, `finish` tries so often, `RETRY_MS` apart. */
const FINISH_ATTEMPTS = 4;
/** How often the spool of a truncated log is emptied. */
const DISCARD_MS = 200;
const DISCARD_BYTES = 1024 * 1024;
/** The spool is freed in steps of this size. */
const HOLE_BYTES = 8 * 1024 * 1024;
/** System lines that wait because the disk is full; more are dropped. */
const MAX_WAITING_LINES = 1000;

/** Logs that are being written by this process: two writers would spoil a file. */
const captured = new Set<string>();

/**
 * See `LogStore.capture`. The log is a function of the spool and the index (see log-index), so a successor finds in
 * the two files where to go on.
 */
export const openLogCapture = async (logsDir: string, options: CaptureOptions): Promise<LogCapture> => {
  const paths = logPaths(logsDir, options.jobId);
  if (captured.has(paths.log)) throw new Error(`the log of job ${options.jobId} is being captured already`);
  captured.add(paths.log);
  const capture = new Capture(options, paths, () => captured.delete(paths.log));
  await capture.start();
  return capture;
};

const isDiskError = (error: unknown): error is Error => systemCode(error) !== undefined;

/** The two files, at the position up to which both are whole. */
class LogWriter {
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
    this.#logSize = encoder.logEnd;
    this.#lines = encoder.lines;
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
    if (this.encoder.batchEmpty) return;
    const { log, index } = this.encoder.batch;
    this.#torn = true;
    await writeFully(this.#log, log, this.#logSize);
    await writeFully(this.#index, index, this.#records * RECORD_BYTES);
    this.#torn = false;
    this.#logSize += log.length;
    this.#records += index.length / RECORD_BYTES;
    this.#lines = this.encoder.lines;
    this.encoder.committed();
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

class Capture implements LogCapture {
  readonly #options: CaptureOptions;
  readonly #paths: LogPaths;
  readonly #release: () => void;
  readonly #watch: SpoolWatch;
  readonly #waiting: { text: string; timeMs: number }[] = [];
  #writer: LogWriter | null = null;
  #spool: FileHandle | null = null;
  #chunk: Buffer | null = null;
  #following = false;
  #stopping = false;
  #troubled = false;
  #loop: Promise<void> = Promise.resolve();
  /** Lines that began before this offset of the spool were unfinished at this time of the monotonic clock. */
  #unfinished: { readonly before: number; readonly sinceMs: number } | null = null;
  #hole: Promise<void> | null = null;
  #holeEnd = 0;
  #ending: Promise<LogResult> | null = null;

  constructor(options: CaptureOptions, paths: LogPaths, release: () => void) {
    this.#options = options;
    this.#paths = paths;
    this.#release = release;
    this.#watch = new SpoolWatch(options.spoolPath);
  }

  async start(): Promise<void> {
    try {
      await this.#attempt(false);
    } catch (error) {
      this.#release();
      throw error;
    }
    this.#loop = this.#run();
    // A failure is told by finish() or close(), which await the loop.
    this.#loop.catch(() => undefined);
  }

  system(text: string): void {
    if (this.#waiting.length < MAX_WAITING_LINES) this.#waiting.push({ text, timeMs: Date.now() });
    this.#watch.notify();
  }

  follow(): void {
    if (this.#following || this.#stopping) return;
    this.#following = true;
    this.#watch.start();
  }

  finish(): Promise<LogResult> {
    this.#ending ??= this.#end(true);
    return this.#ending;
  }

  async close(): Promise<void> {
    this.#ending ??= this.#end(false);
    await this.#ending;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const worked = await this.#attempt(false);
      if (this.#stopping) return;
      if (this.#writer?.encoder.truncated) {
        this.#watch.stop();
        if (this.#following) await this.#discard(DISCARD_BYTES);
      }
      if (!worked) await this.#watch.wait(RETRY_MS);
      else if (this.#writer?.encoder.truncated) await this.#watch.wait(DISCARD_MS);
      else {
        await delay(COALESCE_MS);
        await this.#watch.wait();
      }
    }
  }

  async #end(finishing: boolean): Promise<LogResult> {
    this.#stopping = true;
    this.#watch.stop();
    this.#watch.notify();
    try {
      await this.#loop;
      let done = await this.#attempt(finishing);
      for (let attempt = 1; finishing && !done && attempt < FINISH_ATTEMPTS; attempt++) {
        await delay(RETRY_MS);
        done = await this.#attempt(true);
      }
      const encoder = this.#writer?.encoder;
      if (finishing && encoder?.truncated) await this.#discard(0);
      const written = this.#writer?.written ?? { bytes: 0, lines: 0 };
      return { ...written, truncated: encoder?.truncated === true && done, incomplete: !done };
    } finally {
      await this.#closeFiles();
      this.#release();
    }
  }

  /** Takes all that is there now, to the spool's present end. @returns false when the disk did not take it. */
  async #attempt(finishing: boolean): Promise<boolean> {
    try {
      this.#writer ??= await LogWriter.open(this.#paths, this.#options.maxBytes ?? DEFAULT_MAX_LOG_BYTES);
      await this.#drain(this.#writer, finishing);
      this.#troubled = false;
      return true;
    } catch (error) {
      if (!isDiskError(error)) throw error;
      if (!this.#troubled) {
        this.#troubled = true;
        const { jobId, onTrouble } = this.#options;
        const code = systemCode(error) ?? 'unknown';
        onTrouble?.(new Error(`the log of job ${jobId} could not be written (${code})`, { cause: error }));
      }
      return false;
    }
  }

  async #drain(writer: LogWriter, finishing: boolean): Promise<void> {
    const { encoder } = writer;
    await writer.commit();
    while (this.#waiting.length > 0) {
      const line = this.#waiting.shift();
      if (line !== undefined) encoder.system(line.text, line.timeMs);
    }
    await writer.commit();
    if (this.#following || finishing) await this.#drainSpool(writer, finishing);
    if (finishing) encoder.end();
    else this.#flushUnfinished(encoder);
    await writer.commit();
    encoder.rest();
    this.#chunk = null;
  }

  #flushUnfinished(encoder: SpoolEncoder): void {
    if (encoder.spoolDone === encoder.spoolOffset) {
      this.#unfinished = null;
      return;
    }
    this.#unfinished ??= { before: encoder.spoolOffset, sinceMs: performance.now() };
    if (performance.now() - this.#unfinished.sinceMs < UNFINISHED_MS) return;
    encoder.flushUnfinished(this.#unfinished.before);
    this.#unfinished = null;
  }

  async #drainSpool(writer: LogWriter, finishing: boolean): Promise<void> {
    const { encoder } = writer;
    this.#spool ??= await openIfThere(this.#options.spoolPath);
    if (this.#spool === null) return;
    // A detaching capture leaves the rest to its successor.
    while (!encoder.truncated && (finishing || !this.#stopping)) {
      const chunk = await this.#chunkFor(this.#spool, encoder.spoolOffset);
      if (chunk === null) return;
      const length = await readFully(this.#spool, chunk, chunk.length, encoder.spoolOffset);
      let taken = 0;
      for (;;) {
        const more = encoder.encode(chunk.subarray(taken, length), length - taken);
        taken += more;
        await writer.commit();
        if (more === 0 || taken === length || encoder.truncated) break;
      }
      this.#punch(encoder.spoolDone);
      if (taken > 0) continue;
      if (length < CHUNK_BYTES && !finishing) return;
      encoder.encodeTorn(chunk, length);
      await writer.commit();
    }
  }

  /** @returns a buffer for what the spool holds from `offset` on, at most one chunk; null when there is nothing. */
  async #chunkFor(spool: FileHandle, offset: number): Promise<Buffer | null> {
    const rest = (await spool.stat()).size - offset;
    if (rest <= 0) return null;
    const size = Math.min(rest, CHUNK_BYTES);
    if (this.#chunk === null || this.#chunk.length < size) this.#chunk = Buffer.allocUnsafe(size);
    return this.#chunk.subarray(0, size);
  }

  /** Gives the disk space of the spool before `done` back, where the file system can. Nothing waits for it. */
  #punch(done: number): void {
    const end = Math.floor(done / HOLE_BYTES) * HOLE_BYTES;
    if (end <= this.#holeEnd || this.#hole !== null) return;
    const args = ['--punch-hole', '--offset', String(this.#holeEnd), '--length', String(end - this.#holeEnd)];
    this.#hole = new Promise((resolve) => {
      execFile('fallocate', [...args, this.#options.spoolPath], { timeout: 10_000 }, (error) => {
        // Without the tool, or on a file system without holes, the spool keeps its size.
        this.#holeEnd = error === null ? end : Infinity;
        this.#hole = null;
        resolve();
      });
    });
  }

  /** Empties the spool of a truncated log when it holds more than `bytes`: its writer appends, so it may shrink. */
  async #discard(bytes: number): Promise<void> {
    try {
      const { spoolPath } = this.#options;
      if ((await stat(spoolPath)).size > bytes) await truncate(spoolPath, 0);
    } catch (error) {
      if (!isDiskError(error)) throw error;
    }
  }

  async #closeFiles(): Promise<void> {
    await this.#hole;
    const files = [this.#spool, this.#writer];
    this.#spool = null;
    this.#writer = null;
    for (const file of files) {
      try {
        await file?.close();
      } catch (error) {
        if (!isDiskError(error)) throw error;
      }
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
    await readFully(index, buffer, count * RECORD_BYTES, first * RECORD_BYTES);
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

const writeFully = async (file: FileHandle, bytes: Buffer, position: number): Promise<void> => {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
};

const openIfThere = async (path: string): Promise<FileHandle | null> => {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
};
