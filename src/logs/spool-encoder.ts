import {
  PARTIAL,
  PENDING_STDERR,
  PENDING_STDOUT,
  PREFIX_BYTES,
  RECORD_BYTES,
  STDERR,
  STDOUT,
  SYSTEM,
  TRUNCATED,
  streamOf,
  viewOf,
  writeRecord,
} from './log-index.ts';
import type { IndexRecord, StreamNumber } from './log-index.ts';

/** A line that has no end yet is written in pieces of at most this many bytes; no more of it is ever in memory. */
export const PIECE_BYTES = 64 * 1024;

/**
 * An unfinished line of one stream that nobody has asked to flush waits in memory while the other stream prints this much of the spool, then
 * it is written as it is. It bounds what a resumed capture reads again, and how much spool must be kept.
 */
export const PENDING_REACH_BYTES = 4 * 1024 * 1024;

const BATCH_BYTES = 1024 * 1024;
const NEWLINE = 10;
const SPACE = 32;

export interface EncoderOptions {
  readonly maxBytes: number;
  /** The last record of an earlier capture and the number of lines it left. */
  readonly resume?: { readonly last: IndexRecord; readonly lines: number } | undefined;
}

interface PendingLine {
  buffer: Buffer;
  length: number;
  timeMs: number;
  /** Offset of the spool entry with which the pending bytes begin. */
  spoolStart: number;
}

const EMPTY = Buffer.alloc(0);

/** The limit as the truncation line names it. */
export const truncationText = (maxBytes: number): string =>
  `[TRUNCATED - log exceeded ${Number((maxBytes / (1024 * 1024)).toFixed(2))} MB limit]`;

/**
 * Turns the runtime's spool (k8s-file: `<RFC3339Nano> stdout|stderr F|P <bytes>\n`) into log bytes and index
 * records. Pure: no input or output of its own, and what it makes depends on nothing but the spool's bytes, the
 * calls and the options. A capture that resumes at a record makes a log with the same lines; where system lines and
 * flushes of unfinished ones come in between is told by nothing but the calls.
 * An entry that is not of that form is kept whole as a line of stdout.
 */
export class SpoolEncoder {
  readonly maxBytes: number;
  readonly #pending: [PendingLine | null, PendingLine | null] = [null, null];
  /** Stream of the line that the last piece left open, or -1. */
  #open: StreamNumber | -1 = -1;
  #log: Buffer = EMPTY;
  #logLength = 0;
  #index: Buffer = EMPTY;
  #indexView: DataView = viewOf(EMPTY);
  #records = 0;
  #logEnd = 0;
  #lines = 0;
  #truncated = false;
  #spoolOffset = 0;
  /** Until this offset only entries of `#replayed` count; the others are in the log already. */
  #replayEnd = 0;
  #replayed: StreamNumber | -1 = -1;
  #lastTimeMs = 0;
  readonly #minute = new Uint8Array(22);
  #minuteMs = Number.NaN;

  constructor({ maxBytes, resume }: EncoderOptions) {
    this.maxBytes = maxBytes;
    if (resume === undefined) return;
    const { last, lines } = resume;
    this.#logEnd = last.logEnd;
    this.#lines = lines;
    this.#lastTimeMs = last.timeMs;
    this.#truncated = (last.flags & TRUNCATED) !== 0;
    if (last.flags & PARTIAL) this.#open = streamOf(last.flags);
    this.#spoolOffset = last.spoolEnd - last.back;
    this.#replayEnd = last.spoolEnd;
    if (last.flags & PENDING_STDOUT) this.#replayed = STDOUT;
    if (last.flags & PENDING_STDERR) this.#replayed = STDERR;
  }

  /** Size of the log with the batch. */
  get logEnd(): number {
    return this.#logEnd;
  }

  /** Newlines in the log with the batch. */
  get lines(): number {
    return this.#lines;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  /** Where the next entry of the spool begins: read on from here. */
  get spoolOffset(): number {
    return this.#spoolOffset;
  }

  /** Nothing before this offset of the spool is needed again once the batch is written. */
  get spoolDone(): number {
    return Math.min(
      this.#spoolOffset,
      this.#pending[STDOUT]?.spoolStart ?? Infinity,
      this.#pending[STDERR]?.spoolStart ?? Infinity,
    );
  }

  /** What is to be appended to log and index. Valid until `committed` is called. */
  get batch(): { readonly log: Buffer; readonly index: Buffer } {
    return {
      log: this.#log.subarray(0, this.#logLength),
      index: this.#index.subarray(0, this.#records * RECORD_BYTES),
    };
  }

  get batchEmpty(): boolean {
    return this.#records === 0;
  }

  /** The batch is on disk. */
  committed(): void {
    this.#logLength = 0;
    this.#records = 0;
  }

  /** Gives the memory of the (committed) batch back while nothing is to be done. */
  rest(): void {
    if (!this.batchEmpty) return;
    this.#log = EMPTY;
    this.#index = EMPTY;
    this.#indexView = viewOf(EMPTY);
  }

  /** Appends a line of Flashpods's own. Newlines make several lines. After truncation it is dropped. */
  system(text: string, timeMs: number): void {
    for (const line of text.replace(/\r?\n$/, '').split(/\r?\n/)) {
      if (this.#truncated) return;
      const [out, err] = this.#pending;
      // A record names at most one pending stream.
      if (out !== null && err !== null) {
        this.#flushPending(out.spoolStart < err.spoolStart ? STDOUT : STDERR, true, this.#spoolOffset);
      }
      const bytes = Buffer.from(line);
      this.#emit(SYSTEM, timeMs, EMPTY, 0, bytes, 0, bytes.length, false, this.#spoolOffset);
    }
  }

  /**
   * Takes whole entries from `chunk[0…length)`, which must begin at `spoolOffset`, until it is used up or the
   * batch is full. @returns the bytes taken; 0 with an empty batch: there is no whole entry in it.
   */
  encode(chunk: Buffer, length: number): number {
    let position = 0;
    while (position < length && this.#logLength < BATCH_BYTES && !this.#truncated) {
      const end = chunk.indexOf(NEWLINE, position);
      if (end < 0 || end >= length) break;
      this.#entry(chunk, position, end, false);
      position = end + 1;
    }
    return position;
  }

  /** Takes all of `chunk[0…length)` as one entry, cut short: one that no chunk can hold, or that a kill tore. */
  encodeTorn(chunk: Buffer, length: number): void {
    if (length > 0 && !this.#truncated) this.#entry(chunk, 0, length, true);
  }

  /**
   * Writes what there is of unfinished lines that began before `startedBefore` of the spool; their rest will follow
   * as further pieces.
   */
  flushUnfinished(startedBefore: number): void {
    const [out, err] = this.#pending;
    const errFirst = (err?.spoolStart ?? Infinity) < (out?.spoolStart ?? Infinity);
    for (const stream of errFirst ? ([STDERR, STDOUT] as const) : ([STDOUT, STDERR] as const)) {
      const own = this.#pending[stream];
      if (own !== null && own.length > 0 && own.spoolStart < startedBefore) {
        this.#flushPending(stream, true, this.#spoolOffset);
      }
    }
  }

  /** The spool is at its end: writes what is pending and ends the last line. May be called again. */
  end(): void {
    const [out, err] = this.#pending;
    const first = (out?.spoolStart ?? Infinity) <= (err?.spoolStart ?? Infinity) ? STDOUT : STDERR;
    this.#flushPending(first, false, this.#spoolOffset);
    this.#flushPending(first === STDOUT ? STDERR : STDOUT, false, this.#spoolOffset);
    if (this.#open !== -1 && !this.#truncated) {
      this.#emit(this.#open, this.#lastTimeMs, EMPTY, 0, EMPTY, 0, 0, false, this.#spoolOffset);
    }
  }

  #entry(chunk: Buffer, start: number, end: number, torn: boolean): void {
    const spoolStart = this.#spoolOffset;
    const spoolEnd = spoolStart + (end - start) + (torn ? 0 : 1);
    let stream: typeof STDOUT | typeof STDERR = STDOUT;
    let partial = torn;
    let textStart = start;
    const header = this.#header(chunk, start, end);
    if (header > 0) {
      stream = chunk[header - 6] === 0x65 /* std(e)rr */ ? STDERR : STDOUT;
      partial ||= chunk[header - 2] === 0x50; /* P */
      textStart = header;
    } else if (torn && end - start < 48) {
      // The beginning of a header, no output.
      this.#spoolOffset = spoolEnd;
      return;
    }
    if (spoolStart < this.#replayEnd && stream !== this.#replayed) {
      this.#spoolOffset = spoolEnd;
      return;
    }
    const other = stream === STDOUT ? STDERR : STDOUT;
    const waiting = this.#pending[other];
    if (waiting !== null && spoolStart - waiting.spoolStart > PENDING_REACH_BYTES) {
      this.#flushPending(other, true, spoolStart);
      if (this.#truncated) return;
    }
    const own = this.#pending[stream];
    if (partial) {
      const length = end - textStart;
      if (own !== null && own.length + length > PIECE_BYTES) this.#flushPending(stream, true, spoolStart);
      if (this.#truncated) return;
      if (length > PIECE_BYTES) {
        this.#emit(stream, this.#lastTimeMs, EMPTY, 0, chunk, textStart, end, true, spoolEnd);
      } else this.#addPending(stream, chunk, textStart, end, spoolStart);
    } else {
      this.#pending[stream] = null;
      if (own === null) {
        this.#emit(stream, this.#lastTimeMs, EMPTY, 0, chunk, textStart, end, false, spoolEnd);
      } else this.#emit(stream, own.timeMs, own.buffer, own.length, chunk, textStart, end, false, spoolEnd);
    }
    this.#spoolOffset = spoolEnd;
  }

  /** Reads an entry's header and leaves its time in `#lastTimeMs`. @returns where the text begins, or -1. */
  #header(chunk: Buffer, start: number, end: number): number {
    let space = start + 35;
    if (end - start >= 45 && chunk[space] === SPACE && chunk[start + 19] === 0x2e) {
      const minute = this.#minute;
      let same = true;
      for (let i = 15; i >= 0 && same; i--) same = chunk[start + i] === minute[i];
      for (let i = 16; i < 22 && same; i++) same = chunk[start + 13 + i] === minute[i];
      if (!same) {
        const text = chunk.toString('latin1', start, start + 35);
        this.#minuteMs = Date.parse(`${text.slice(0, 16)}:00.000${text.slice(29)}`);
        minute.set(chunk.subarray(start, start + 16));
        minute.set(chunk.subarray(start + 29, start + 35), 16);
      }
      const digit = (at: number): number => (chunk[start + at] ?? 0) - 48;
      this.#lastTimeMs =
        this.#minuteMs + (digit(17) * 10 + digit(18)) * 1000 + digit(20) * 100 + digit(21) * 10 + digit(22);
    } else {
      // Another precision or zone notation than conmon's own.
      space = chunk.indexOf(SPACE, start);
      if (space < 0 || space - start > 40 || end - space < 10) return -1;
      this.#minute[0] = 0;
      const time = Date.parse(chunk.toString('latin1', start, space).replace(/(\.\d{3})\d+/, '$1'));
      if (Number.isNaN(time)) return -1;
      this.#lastTimeMs = time;
    }
    const isHeader =
      !Number.isNaN(this.#lastTimeMs) &&
      chunk[space + 1] === 0x73 &&
      chunk[space + 2] === 0x74 &&
      chunk[space + 3] === 0x64 &&
      (chunk[space + 4] === 0x6f || chunk[space + 4] === 0x65) &&
      chunk[space + 7] === SPACE &&
      (chunk[space + 8] === 0x46 || chunk[space + 8] === 0x50) &&
      chunk[space + 9] === SPACE;
    if (isHeader) return space + 10;
    if (Number.isNaN(this.#lastTimeMs)) this.#lastTimeMs = 0;
    return -1;
  }

  #addPending(
    stream: typeof STDOUT | typeof STDERR,
    chunk: Buffer,
    start: number,
    end: number,
    spoolStart: number,
  ): void {
    let own = this.#pending[stream];
    if (own === null) {
      own = {
        buffer: Buffer.allocUnsafe(Math.max(end - start, 8192)),
        length: 0,
        timeMs: this.#lastTimeMs,
        spoolStart,
      };
      this.#pending[stream] = own;
    }
    const needed = own.length + (end - start);
    if (needed > own.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.min(PIECE_BYTES, Math.max(needed, own.buffer.length * 2)));
      own.buffer.copy(larger, 0, 0, own.length);
      own.buffer = larger;
    }
    chunk.copy(own.buffer, own.length, start, end);
    own.length = needed;
  }

  #flushPending(stream: typeof STDOUT | typeof STDERR, partial: boolean, spoolEnd: number): void {
    const own = this.#pending[stream];
    if (own === null) return;
    this.#pending[stream] = null;
    if (this.#truncated) return;
    this.#emit(stream, own.timeMs, EMPTY, 0, own.buffer, 0, own.length, partial, spoolEnd);
  }

  /** Appends one piece, its text being `head[0…headLength)` and `text[start…end)`, and its record. */
  #emit(
    stream: StreamNumber,
    timeMs: number,
    head: Buffer,
    headLength: number,
    text: Buffer,
    start: number,
    end: number,
    partial: boolean,
    spoolEnd: number,
  ): void {
    const lead = this.#leadBytes(stream);
    const size = lead + headLength + (end - start) + (partial ? 0 : 1);
    if (this.#logEnd + size > this.maxBytes) {
      this.#truncate(stream, timeMs, head, headLength, text, start, end, spoolEnd);
      return;
    }
    this.#piece(stream, timeMs, head, headLength, text, start, end, partial, spoolEnd, 0);
  }

  /** Bytes in front of a piece's text: the newline that breaks an open line, and the prefix. */
  #leadBytes(stream: StreamNumber): number {
    if (this.#open === stream) return 0;
    return this.#open === -1 ? PREFIX_BYTES : PREFIX_BYTES + 1;
  }

  /** Fills the log up to its limit with the beginning of a piece, and writes the last line. */
  #truncate(
    stream: StreamNumber,
    timeMs: number,
    head: Buffer,
    headLength: number,
    text: Buffer,
    start: number,
    end: number,
    spoolEnd: number,
  ): void {
    const room = this.maxBytes - this.#logEnd - this.#leadBytes(stream);
    if (room > 0) {
      const fromHead = Math.min(headLength, room);
      const fromText = Math.min(end - start, room - fromHead);
      this.#piece(stream, timeMs, head, fromHead, text, start, start + fromText, true, spoolEnd, 0);
    }
    this.#truncated = true;
    this.#pending[STDOUT] = null;
    this.#pending[STDERR] = null;
    const last = Buffer.from(truncationText(this.maxBytes));
    // An open line of the system stream itself is ended first, so that the last line stands alone.
    if (this.#open === SYSTEM) this.#piece(SYSTEM, timeMs, EMPTY, 0, EMPTY, 0, 0, false, spoolEnd, 0);
    this.#piece(SYSTEM, timeMs, EMPTY, 0, last, 0, last.length, false, spoolEnd, TRUNCATED);
  }

  #piece(
    stream: StreamNumber,
    timeMs: number,
    head: Buffer,
    headLength: number,
    text: Buffer,
    start: number,
    end: number,
    partial: boolean,
    spoolEnd: number,
    flags: number,
  ): void {
    this.#makeRoom(headLength + (end - start) + PREFIX_BYTES + 2);
    const log = this.#log;
    let at = this.#logLength;
    if (this.#open !== stream) {
      if (this.#open !== -1) {
        log[at++] = NEWLINE;
        this.#lines++;
      }
      at = writePrefix(log, at, timeMs);
    }
    if (headLength > 0) at += head.copy(log, at, 0, headLength);
    if (end - start > 48) at += text.copy(log, at, start, end);
    else for (let i = start; i < end; i++) log[at++] = text[i] ?? 0;
    if (partial) this.#open = stream;
    else {
      log[at++] = NEWLINE;
      this.#lines++;
      this.#open = -1;
    }
    this.#logEnd += at - this.#logLength;
    this.#logLength = at;

    let back = 0;
    if (partial) flags |= PARTIAL;
    const [out, err] = this.#pending;
    if (spoolEnd < this.#replayEnd) {
      // It came while the replayed stream's unfinished line is still being read again.
      const replayed = this.#replayed === STDERR ? err : out;
      flags |= this.#replayed === STDERR ? PENDING_STDERR : PENDING_STDOUT;
      back = this.#replayEnd - (replayed?.spoolStart ?? spoolEnd);
      spoolEnd = this.#replayEnd;
    } else if (out !== null) {
      flags |= PENDING_STDOUT;
      back = spoolEnd - out.spoolStart;
    } else if (err !== null) {
      flags |= PENDING_STDERR;
      back = spoolEnd - err.spoolStart;
    }
    writeRecord(this.#indexView, this.#records++, this.#logEnd, timeMs, spoolEnd, flags | stream, back);
  }

  #makeRoom(bytes: number): void {
    if (this.#logLength + bytes > this.#log.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#logLength + bytes, this.#log.length * 2, 16 * 1024));
      this.#log.copy(larger, 0, 0, this.#logLength);
      this.#log = larger;
    }
    if ((this.#records + 1) * RECORD_BYTES > this.#index.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#index.length * 2, 128 * RECORD_BYTES));
      this.#index.copy(larger, 0, 0, this.#records * RECORD_BYTES);
      this.#index = larger;
      this.#indexView = viewOf(larger);
    }
  }
}

const writePrefix = (log: Buffer, at: number, timeMs: number): number => {
  let rest = timeMs % 86_400_000;
  const ms = rest % 1000;
  rest = (rest - ms) / 1000;
  const seconds = rest % 60;
  rest = (rest - seconds) / 60;
  const minutes = rest % 60;
  const hours = (rest - minutes) / 60;
  log[at] = 0x5b;
  log[at + 1] = 48 + ((hours / 10) | 0);
  log[at + 2] = 48 + (hours % 10);
  log[at + 3] = 0x3a;
  log[at + 4] = 48 + ((minutes / 10) | 0);
  log[at + 5] = 48 + (minutes % 10);
  log[at + 6] = 0x3a;
  log[at + 7] = 48 + ((seconds / 10) | 0);
  log[at + 8] = 48 + (seconds % 10);
  log[at + 9] = 0x2e;
  log[at + 10] = 48 + ((ms / 100) | 0);
  log[at + 11] = 48 + (((ms / 10) | 0) % 10);
  log[at + 12] = 48 + (ms % 10);
  log[at + 13] = 0x5d;
  log[at + 14] = SPACE;
  return at + PREFIX_BYTES;
};
