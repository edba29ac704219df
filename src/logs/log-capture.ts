import { devNull } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../errors.ts';
import { logPaths, type LogPaths } from './log-parts.ts';
import { type CaptureOptions, DEFAULT_MAX_LOG_BYTES, type LogCapture, type LogResult } from './log-store.ts';
import { LogWriter } from './log-writer.ts';
import { CHUNK_BYTES, Spool } from './spool.ts';
import { type Place, placeAfter, SpoolCount } from './spool-count.ts';
import type { SpoolEncoder } from './spool-encoder.ts';
import { SpoolWatch } from './spool-watch.ts';

/** At most one read in this time for a job that prints line after line. */
const COALESCE_MS = 5;
const RETRY_MS = 500;
/**
 * A line that is unfinished for this time (a prompt, a progress bar) is written as far as it goes, at most a
 * second later. Shorter would cut lines in two that are printed in several writes while the other stream
 * prints as well.
 */
const UNFINISHED_MS = 500;
/**
 * A job that is so far ahead prints faster than a log can be made of it. Of a log that is too long its end alone is kept,
 * so what comes before that in the spool is only counted, which is several times faster.
 */
const AHEAD_BYTES = 16 * 1024 * 1024;
/** With a full disk, `finish` tries so often, `RETRY_MS` apart. */
const FINISH_ATTEMPTS = 4;
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

class Capture implements LogCapture {
  readonly #options: CaptureOptions;
  readonly #paths: LogPaths;
  readonly #release: () => void;
  readonly #watch: SpoolWatch;
  readonly #spool: Spool;
  readonly #waiting: { text: string; timeMs: number }[] = [];
  #writer: LogWriter | null = null;
  #following = false;
  #stopping = false;
  #troubled = false;
  #isTruncated = false;
  #count: SpoolCount | null = null;
  #loop: Promise<void> = Promise.resolve();
  /** Lines that began before this offset of the spool were unfinished at this time of the monotonic clock. */
  #unfinished: { readonly before: number; readonly sinceMs: number } | null = null;
  #ending: Promise<LogResult> | null = null;

  constructor(options: CaptureOptions, paths: LogPaths, release: () => void) {
    this.#options = options;
    this.#paths = paths;
    this.#release = release;
    const spoolPath = options.spoolPath ?? devNull;
    this.#watch = new SpoolWatch(spoolPath);
    this.#spool = new Spool(spoolPath);
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
    if (this.#following || this.#stopping || this.#options.spoolPath === null) return;
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
      if (!worked) await this.#watch.wait(RETRY_MS);
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
      if (finishing && done) await this.#finishFiles();
      const written = this.#writer?.written ?? { bytes: 0, lines: 0 };
      return { ...written, truncated: this.#writer?.truncated === true, incomplete: !done };
    } finally {
      await this.#closeFiles().finally(this.#release);
    }
  }

  async #finishFiles(): Promise<void> {
    try {
      await this.#writer?.finish();
    } catch (error) {
      if (!isDiskError(error)) throw error;
      this.#tell(error);
    }
  }

  /** Takes all that is there now, to the spool's present end. @returns false when the disk did not take it. */
  async #attempt(finishing: boolean): Promise<boolean> {
    try {
      const { maxBytes = DEFAULT_MAX_LOG_BYTES, merged } = this.#options;
      this.#writer ??= await LogWriter.open(this.#paths, { maxBytes, merged });
      await this.#drain(this.#writer, finishing);
      this.#troubled = false;
      return true;
    } catch (error) {
      if (!isDiskError(error)) throw error;
      this.#tell(error);
      return false;
    }
  }

  #tell(error: Error): void {
    if (this.#troubled) return;
    this.#troubled = true;
    const { jobId, onTrouble } = this.#options;
    const code = systemCode(error) ?? 'unknown';
    onTrouble?.(new Error(`the log of job ${jobId} could not be written (${code})`, { cause: error }));
  }

  /** Once, as soon as something of the log is left out. */
  #noteTruncation(writer: LogWriter): void {
    if (this.#isTruncated || !writer.truncated) return;
    this.#isTruncated = true;
    this.#options.onTruncated?.();
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
    this.#noteTruncation(writer);
    encoder.rest();
    this.#spool.rest();
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
    // A detaching capture leaves the rest to its successor.
    while (finishing || !this.#stopping) {
      await this.#skipAhead(writer);
      const gap = await this.#spool.gapAt(encoder.spoolOffset);
      if (gap !== null) {
        await this.#skip(writer, placeAfter(gap, encoder.counted));
        continue;
      }
      const chunk = await this.#spool.read(encoder.spoolOffset);
      if (chunk === null) return;
      // A part that is left out by now begins here.
      if (chunk.length === 0) continue;
      let taken = 0;
      for (;;) {
        const more = encoder.encode(chunk.subarray(taken), chunk.length - taken);
        taken += more;
        await writer.commit();
        if (more === 0 || taken === chunk.length) break;
      }
      this.#noteTruncation(writer);
      this.#spool.free(encoder.spoolDone);
      if (taken > 0) continue;
      if (chunk.length < CHUNK_BYTES && !finishing) return;
      encoder.encodeTorn(chunk, chunk.length);
      await writer.commit();
    }
  }

  /** Leaves out what will not be kept in any case, where the job is far ahead. */
  async #skipAhead(writer: LogWriter): Promise<void> {
    const { encoder } = writer;
    const { spoolOffset, counted } = encoder;
    if (!writer.keepsEndOnly || encoder.isReplaying) return;
    if ((await this.#spool.size()) - spoolOffset < AHEAD_BYTES) {
      this.#count = null;
      return;
    }
    if (this.#count === null || this.#count.offset < spoolOffset)
      this.#count = new SpoolCount(spoolOffset, counted);
    for (;;) {
      const gap = await this.#spool.gapAt(this.#count.offset);
      // Of one that was made behind its beginning a part is counted already: once more, the next time.
      if (gap !== null && gap.from < this.#count.offset) {
        this.#count = null;
        return;
      }
      if (gap !== null) this.#count.pass(gap);
      const chunk = await this.#spool.read(this.#count.offset);
      if (chunk === null || this.#count.take(chunk) === 0) break;
    }
    const place = this.#count.before(writer.endBytes);
    if (place === null || place.offset - spoolOffset < AHEAD_BYTES / 2) return;
    const around = await this.#spool.gapAt(place.offset);
    if (around !== null && around.from < place.offset) {
      this.#count = null;
      return;
    }
    await this.#skip(writer, place);
  }

  async #skip(writer: LogWriter, place: Place): Promise<void> {
    await writer.skip(place, writer.keepsEndOnly);
    this.#noteTruncation(writer);
    this.#spool.free(writer.encoder.spoolDone);
  }

  async #closeFiles(): Promise<void> {
    const files = [this.#spool, this.#writer];
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
