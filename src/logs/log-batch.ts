/** What is to be appended to a log and its index next, as bytes. */
import {
  flagsAt,
  type IndexRecord,
  PARTIAL,
  PREFIX_BYTES,
  readRecord,
  RECORD_BYTES,
  type StreamNumber,
  streamOf,
  SYSTEM,
  timeAt,
  UNENDED,
  viewOf,
  writeRecord,
} from './log-index.ts';

const NEWLINE = 10;
const SPACE = 32;
/** Below this length a loop is faster than `copy`. */
const SHORT_BYTES = 48;

export const EMPTY = Buffer.alloc(0);

/**
 * A piece of the log on its way into the batch: a line or a part of one. Its text is `head[0…headLength)` and then
 * `text[start…end)`. One object serves for all pieces, since millions a second pass: `begin` makes it the next one.
 */
export class Piece {
  stream: StreamNumber = 0;
  timeMs = 0;
  /** With the piece everything of the spool before this byte is in the log. */
  spoolEnd = 0;
  head: Buffer = EMPTY;
  headLength = 0;
  text: Buffer = EMPTY;
  start = 0;
  end = 0;

  begin(stream: StreamNumber, timeMs: number, spoolEnd: number): this {
    this.stream = stream;
    this.timeMs = timeMs;
    this.spoolEnd = spoolEnd;
    this.headLength = 0;
    this.start = 0;
    this.end = 0;
    return this;
  }

  /** Lets go of the bytes that it refers to. */
  clear(): void {
    this.begin(0, 0, 0);
    this.head = EMPTY;
    this.text = EMPTY;
  }

  withHead(head: Buffer, length: number): this {
    this.head = head;
    this.headLength = length;
    return this;
  }

  withText(text: Buffer, start: number, end: number): this {
    // Mostly the same chunk: a write of a reference costs more than the look.
    if (this.text !== text) this.text = text;
    this.start = start;
    this.end = end;
    return this;
  }

  get length(): number {
    return this.headLength + this.end - this.start;
  }
}

export class LogBatch {
  /** End of the log with the batch. */
  logEnd = 0;
  /** Newlines in the log with the batch. */
  lines = 0;
  /** Pieces of the log with the batch. */
  pieces = 0;
  /** Bytes of the job's own in the log with the batch. */
  printed = 0;
  /** Stream of the line that the last piece left open, or -1. */
  open: StreamNumber | -1 = -1;
  #log: Buffer = EMPTY;
  #logStart = 0;
  #logLength = 0;
  #index: Buffer = EMPTY;
  #indexView: DataView = viewOf(EMPTY);
  #first = 0;
  #records = 0;
  /** Where the last record's group begins in the batch; -1 when nothing may be added to it. */
  #groupStart = -1;

  /** Goes on with a log of which `record` is the last. The batch has to be empty. */
  resume({ logEnd, lines, pieces, printed, flags }: IndexRecord): void {
    this.logEnd = logEnd;
    this.lines = lines;
    this.pieces = pieces;
    this.printed = printed;
    this.open = (flags & PARTIAL) === 0 ? -1 : streamOf(flags);
    this.#groupStart = -1;
  }

  get isEmpty(): boolean {
    return this.#records === this.#first;
  }

  /** Bytes of log in it. */
  get length(): number {
    return this.#logLength - this.#logStart;
  }

  /** How many records it holds. */
  get records(): number {
    return this.#records - this.#first;
  }

  /** Record number `position` of it. */
  record(position: number): IndexRecord {
    return readRecord(this.#indexView, this.#first + position);
  }

  /** The log of the first `bytes` bytes of it. Valid until the next change. */
  log(bytes: number): Buffer {
    return this.#log.subarray(this.#logStart, this.#logStart + bytes);
  }

  /** Its first `records` records. Valid until the next change. */
  index(records: number): Buffer {
    return this.#index.subarray(this.#first * RECORD_BYTES, (this.#first + records) * RECORD_BYTES);
  }

  /** Lets go of the beginning, which is written. */
  drop(records: number, bytes: number): void {
    this.#first += records;
    this.#logStart += bytes;
    this.#groupStart = -1;
    if (!this.isEmpty) return;
    this.#first = this.#records = 0;
    this.#logStart = this.#logLength = 0;
  }

  /** Gives the memory of an empty batch back. */
  rest(): void {
    if (!this.isEmpty) return;
    this.#log = EMPTY;
    this.#index = EMPTY;
    this.#indexView = viewOf(EMPTY);
  }

  /**
   * @param spoolEnd, flags, back, carry of the record, see log-index; stream and PARTIAL are added here
   * @param partial the line goes on
   */
  append(
    piece: Piece,
    partial: boolean,
    { spoolEnd, flags, back, carry }: Pick<IndexRecord, 'spoolEnd' | 'flags' | 'back' | 'carry'>,
    groupBytes: number,
  ): void {
    const { stream, headLength, text, start, end, timeMs } = piece;
    this.#makeRoom(piece.length + PREFIX_BYTES + 2);
    const log = this.#log;
    const begin = this.#logLength;
    let at = begin;
    const startsLine = this.open === -1;
    if (this.open !== stream) {
      if (this.open !== -1) {
        log[at++] = NEWLINE;
        this.lines++;
      }
      at = writePrefix(log, at, timeMs);
    }
    if (headLength > 0) at += piece.head.copy(log, at, 0, headLength);
    if (end - start > SHORT_BYTES) at += text.copy(log, at, start, end);
    else for (let i = start; i < end; i++) log[at++] = text[i] ?? 0;
    if (partial) this.open = stream;
    else {
      log[at++] = NEWLINE;
      this.lines++;
      this.open = -1;
    }
    this.logEnd += at - begin;
    this.#logLength = at;
    this.pieces++;
    const isPrinted = stream !== SYSTEM;
    if (isPrinted) this.printed += piece.length + (partial || (flags & UNENDED) !== 0 ? 0 : 1);
    const all = flags | stream | (partial ? PARTIAL : 0);
    const mayGroup = startsLine && all === stream && back === 0 && carry[0] === 0 && carry[1] === 0;
    const { lines, pieces, printed, logEnd } = this;
    const joins =
      mayGroup &&
      this.#groupStart >= 0 &&
      at - this.#groupStart <= groupBytes &&
      flagsAt(this.#indexView, this.#records - 1) === all &&
      timeAt(this.#indexView, this.#records - 1) === timeMs;
    if (!joins) this.#groupStart = mayGroup ? begin : -1;
    const position = joins ? this.#records - 1 : this.#records++;
    writeRecord(this.#indexView, position, {
      logEnd,
      timeMs,
      spoolEnd,
      flags: all,
      back,
      pieces,
      lines,
      printed,
      carry,
    });
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

/** The beginning of a line of the log. */
export const prefixOf = (timeMs: number): Buffer => {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  writePrefix(prefix, 0, timeMs);
  return prefix;
};

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
