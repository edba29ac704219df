import { open, type FileHandle } from 'node:fs/promises';
import { systemCode } from '../errors.ts';
import { readFully } from '../files/read-fully.ts';
import { backedRecords, logPaths } from './log-files.ts';
import {
  PARTIAL,
  PREFIX_BYTES,
  RECORD_BYTES,
  STREAM_NAMES,
  TRUNCATED,
  breaksLine,
  continuesLine,
  flagsAt,
  logEndAt,
  readRecord,
  streamOf,
  viewOf,
} from './log-index.ts';
import {
  MAX_ANSWER_BYTES,
  type LogRecord,
  type LogRecords,
  type LogTail,
  type LogText,
} from './log-store.ts';

const MAX_ANSWER_RECORDS = 10_000;
const RECORDS_PER_READ = 1024;
const NEWLINE = 10;

/** See `LogStore.readTail`. */
export const readTail = (logsDir: string, jobId: string, tail: number): Promise<LogTail | null> =>
  withLog(logsDir, jobId, async (log) => {
    const { start, cut } = await log.tailStart(tail);
    const output = await log.bytesFrom(start, log.size - start);
    return { ...log.answer(log.size), output, lines: countLines(output), cut };
  });

/** See `LogStore.readFrom`. */
export const readFrom = (
  logsDir: string,
  jobId: string,
  offset: number,
  maxBytes: number = MAX_ANSWER_BYTES,
): Promise<LogText | null> =>
  withLog(logsDir, jobId, async (log) => {
    const start = Math.min(Math.max(0, offset), log.size);
    // With room for one character at least, every call gets on.
    const room = Math.min(Math.max(4, maxBytes), MAX_ANSWER_BYTES);
    const bytes = await log.bytesFrom(start, Math.min(room, log.size - start));
    let end = bytes.lastIndexOf(NEWLINE) + 1;
    if (end === 0 && bytes.length === room) end = wholeCharacters(bytes);
    const output = bytes.subarray(0, end);
    return { ...log.answer(start + end), output, lines: countLines(output) };
  });

/**
 * The same log as records, from byte `offset` on or for the last `tail` lines; as many as one answer of `maxBytes` of
 * the log holds, and at least one. @returns null when there is no log.
 */
export const readRecords = (
  logsDir: string,
  jobId: string,
  from: { readonly offset: number } | { readonly tail: number },
  maxBytes: number = MAX_ANSWER_BYTES,
): Promise<LogRecords | null> =>
  withLog(logsDir, jobId, async (log) => {
    const start = 'tail' in from ? (await log.tailStart(from.tail)).start : Math.max(0, from.offset);
    return await log.recordsFrom(start, maxBytes);
  });

class OpenLog {
  readonly size: number;
  readonly #log: FileHandle;
  readonly #index: FileHandle;
  readonly #records: number;
  readonly #truncated: boolean;

  private constructor(log: FileHandle, index: FileHandle, records: number, size: number, truncated: boolean) {
    this.#log = log;
    this.#index = index;
    this.#records = records;
    this.size = size;
    this.#truncated = truncated;
  }

  static async open(log: FileHandle, index: FileHandle): Promise<OpenLog> {
    const records = await backedRecords(index, (await log.stat()).size);
    if (records === 0) return new OpenLog(log, index, 0, 0, false);
    const view = await readIndex(index, records - 1, 1);
    return new OpenLog(log, index, records, logEndAt(view, 0), (flagsAt(view, 0) & TRUNCATED) !== 0);
  }

  answer(nextOffset: number): Omit<LogRecords, 'records'> {
    return { nextOffset, totalBytes: this.size, truncated: this.#truncated };
  }

  async bytesFrom(start: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, await readFully(this.#log, bytes, start));
  }

  /** Where the last `tail` lines begin, as far as one answer holds them. */
  async tailStart(tail: number): Promise<{ start: number; cut: boolean }> {
    let start = this.size;
    let lines = 0;
    for (let end = this.#records; end > 0; end -= RECORDS_PER_READ) {
      // One record more in front: a piece's beginning is its predecessor's end.
      const first = Math.max(0, end - RECORDS_PER_READ - 1);
      const view = await readIndex(this.#index, first, end - first);
      for (let i = end - 1; i >= Math.max(0, end - RECORDS_PER_READ) && lines < tail; i--) {
        const previousEnd = i === 0 ? 0 : logEndAt(view, i - 1 - first);
        const previousFlags = i === 0 ? 0 : flagsAt(view, i - 1 - first);
        const flags = flagsAt(view, i - first);
        const begin = previousEnd + (breaksLine(flags, previousFlags) ? 1 : 0);
        if (this.size - begin > MAX_ANSWER_BYTES) {
          if (lines > 0) return { start, cut: true };
          const middle = this.size - MAX_ANSWER_BYTES;
          return { start: middle + continuationBytes(await this.bytesFrom(middle, 3)), cut: true };
        }
        if (continuesLine(flags, previousFlags)) continue;
        lines++;
        start = begin;
      }
      if (lines >= tail) break;
    }
    return { start, cut: false };
  }

  async recordsFrom(offset: number, maxBytes: number): Promise<LogRecords> {
    const first = await this.#recordAt(offset);
    // Nearly every record has a prefix and a newline.
    const most = Math.min(MAX_ANSWER_RECORDS, Math.ceil(maxBytes / (PREFIX_BYTES + 1)));
    const count = Math.min(this.#records - first, most);
    if (count <= 0) return { ...this.answer(this.size), records: [] };
    const before = first === 0 ? 0 : 1;
    const view = await readIndex(this.#index, first - before, count + before);
    let begin = before === 0 ? 0 : logEndAt(view, 0);
    let previousFlags = before === 0 ? 0 : flagsAt(view, 0);
    let last = before;
    // One record is always answered; it is never larger than a chunk of the spool.
    while (last + 1 < count + before && logEndAt(view, last + 1) - begin <= maxBytes) last++;
    const bytes = await this.bytesFrom(begin, logEndAt(view, last) - begin);
    const base = begin;
    const records: LogRecord[] = [];
    for (let i = before; i <= last; i++) {
      const record = readRecord(view, i);
      const { flags, timeMs, logEnd } = record;
      const partial = (flags & PARTIAL) !== 0;
      let textStart = begin - base;
      if (breaksLine(flags, previousFlags)) textStart++;
      if (!continuesLine(flags, previousFlags)) textStart += PREFIX_BYTES;
      const text = bytes.toString('utf8', textStart, logEnd - base - (partial ? 0 : 1));
      const stream = STREAM_NAMES[streamOf(flags)];
      const time = new Date(timeMs).toISOString();
      records.push({ seq: first + 1 + i - before, time, stream, text, ...(partial ? { partial } : {}) });
      begin = logEnd;
      previousFlags = flags;
    }
    return { ...this.answer(begin), records };
  }

  /** The first record that ends behind `offset`. */
  async #recordAt(offset: number): Promise<number> {
    let low = 0;
    let high = this.#records;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (logEndAt(await readIndex(this.#index, middle, 1), 0) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

const withLog = async <T>(
  logsDir: string,
  jobId: string,
  read: (log: OpenLog) => Promise<T>,
): Promise<T | null> => {
  const paths = logPaths(logsDir, jobId);
  const files: FileHandle[] = [];
  try {
    const log = await open(paths.log, 'r');
    files.push(log);
    const index = await open(paths.index, 'r');
    files.push(index);
    return await read(await OpenLog.open(log, index));
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return null;
    if (code === undefined) throw error;
    throw new Error(`the log of job ${jobId} could not be read (${code})`, { cause: error });
  } finally {
    for (const file of files) await file.close();
  }
};

const readIndex = async (index: FileHandle, first: number, count: number): Promise<DataView> => {
  const buffer = Buffer.alloc(count * RECORD_BYTES);
  await readFully(index, buffer, first * RECORD_BYTES);
  return viewOf(buffer);
};

const countLines = (output: Buffer): number => {
  let lines = 0;
  for (let at = output.indexOf(NEWLINE); at >= 0; at = output.indexOf(NEWLINE, at + 1)) lines++;
  return output.length > 0 && output[output.length - 1] !== NEWLINE ? lines + 1 : lines;
};

const isContinuation = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80;

/** How many bytes at the beginning belong to a character that began before. */
const continuationBytes = (bytes: Buffer): number => {
  let count = 0;
  while (isContinuation(bytes[count])) count++;
  return count;
};

/** Length without a character at the end of which bytes are missing. */
const wholeCharacters = (bytes: Buffer): number => {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (isContinuation(byte)) continue;
    const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return size > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
};
