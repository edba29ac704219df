import { HeaderReader, isPartial, MIN_ENTRY_BYTES, streamOfEntry } from './spool-entry.ts';
import { LogBatch, Piece } from './log-batch.ts';
import {
  type IndexRecord,
  type StreamNumber,
  PARTIAL,
  PENDING_STDERR,
  PENDING_STDOUT,
  STDERR,
  STDOUT,
  SYSTEM,
  TRUNCATED,
  streamOf,
} from './log-index.ts';
import { PendingLine, PIECE_BYTES } from './pending-line.ts';

/**
 * An unfinished line of one stream that nobody has asked to flush waits in memory while the other stream prints this
 * much of the spool, then it is written as it is. It bounds what a resumed capture reads again, and how much spool must be kept.
 */
export const PENDING_REACH_BYTES = 4 * 1024 * 1024;

const BATCH_BYTES = 1024 * 1024;
const NEWLINE = 10;

export interface EncoderOptions {
  readonly maxBytes: number;
  /** The last record of an earlier capture and the number of lines it left. */
  readonly resume?: { readonly last: IndexRecord; readonly lines: number } | undefined;
}

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
  readonly #header = new HeaderReader();
  readonly #batch = new LogBatch();
  readonly #piece = new Piece();
  #truncated = false;
  #spoolOffset = 0;
  /** Until this offset only entries of `#replayed` count; the others are in the log already. */
  #replayEnd = 0;
  #replayed: StreamNumber | -1 = -1;

  constructor({ maxBytes, resume }: EncoderOptions) {
    this.maxBytes = maxBytes;
    if (resume === undefined) return;
    const { last, lines } = resume;
    this.#batch.logEnd = last.logEnd;
    this.#batch.lines = lines;
    this.#header.timeMs = last.timeMs;
    this.#truncated = (last.flags & TRUNCATED) !== 0;
    if (last.flags & PARTIAL) this.#batch.open = streamOf(last.flags);
    this.#spoolOffset = last.spoolEnd - last.back;
    this.#replayEnd = last.spoolEnd;
    if (last.flags & PENDING_STDOUT) this.#replayed = STDOUT;
    if (last.flags & PENDING_STDERR) this.#replayed = STDERR;
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

  /** What is to be appended to log and index; cleared by who has written it. */
  get batch(): LogBatch {
    return this.#batch;
  }

  /** Gives memory back while nothing is to be done. */
  rest(): void {
    this.#batch.rest();
    this.#piece.clear();
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
      this.#emit(
        this.#piece.begin(SYSTEM, timeMs, this.#spoolOffset).withText(bytes, 0, bytes.length),
        false,
      );
    }
  }

  /**
   * Takes whole entries from `chunk[0…length)`, which must begin at `spoolOffset`, until it is used up or the
   * batch is full. @returns the bytes taken; 0 with an empty batch: there is no whole entry in it.
   */
  encode(chunk: Buffer, length: number): number {
    let position = 0;
    while (position < length && this.#batch.length < BATCH_BYTES && !this.#truncated) {
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
    const { open } = this.#batch;
    if (open !== -1 && !this.#truncated) {
      this.#emit(this.#piece.begin(open, this.#header.timeMs, this.#spoolOffset), false);
    }
  }

  #entry(chunk: Buffer, start: number, end: number, torn: boolean): void {
    const spoolStart = this.#spoolOffset;
    const spoolEnd = spoolStart + (end - start) + (torn ? 0 : 1);
    let stream: typeof STDOUT | typeof STDERR = STDOUT;
    let partial = torn;
    let textStart = start;
    const text = this.#header.read(chunk, start, end);
    if (text > 0) {
      stream = streamOfEntry(chunk, text);
      partial ||= isPartial(chunk, text);
      textStart = text;
    } else if (torn && end - start < MIN_ENTRY_BYTES) {
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
        const piece = this.#piece.begin(stream, this.#header.timeMs, spoolEnd);
        this.#emit(piece.withText(chunk, textStart, end), true);
      } else {
        const line = (this.#pending[stream] ??= new PendingLine(this.#header.timeMs, spoolStart, length));
        line.add(chunk, textStart, end);
      }
    } else {
      this.#pending[stream] = null;
      const piece = this.#piece.begin(stream, own?.timeMs ?? this.#header.timeMs, spoolEnd);
      if (own !== null) piece.withHead(own.buffer, own.length);
      this.#emit(piece.withText(chunk, textStart, end), false);
    }
    this.#spoolOffset = spoolEnd;
  }

  #flushPending(stream: typeof STDOUT | typeof STDERR, partial: boolean, spoolEnd: number): void {
    const own = this.#pending[stream];
    if (own === null) return;
    this.#pending[stream] = null;
    if (this.#truncated) return;
    this.#emit(this.#piece.begin(stream, own.timeMs, spoolEnd).withText(own.buffer, 0, own.length), partial);
  }

  /** Appends a piece, or as much of it as the log's limit leaves. @param partial the line goes on */
  #emit(piece: Piece, partial: boolean): void {
    const size = this.#batch.leadBytes(piece.stream) + piece.length + (partial ? 0 : 1);
    if (this.#batch.logEnd + size > this.maxBytes) this.#truncate(piece);
    else this.#append(piece, partial, 0);
  }

  /** Fills the log up to its limit with the beginning of a piece, and writes the last line. */
  #truncate(piece: Piece): void {
    const { timeMs, spoolEnd } = piece;
    const room = this.maxBytes - this.#batch.logEnd - this.#batch.leadBytes(piece.stream);
    if (room > 0) this.#append(piece.cut(room), true, 0);
    this.#truncated = true;
    this.#pending[STDOUT] = null;
    this.#pending[STDERR] = null;
    // An open line of the system stream itself is ended first, so that the last line stands alone.
    if (this.#batch.open === SYSTEM) this.#append(piece.begin(SYSTEM, timeMs, spoolEnd), false, 0);
    const last = Buffer.from(truncationText(this.maxBytes));
    this.#append(piece.begin(SYSTEM, timeMs, spoolEnd).withText(last, 0, last.length), false, TRUNCATED);
  }

  /** Appends a piece with a record that tells where a successor would go on reading. */
  #append(piece: Piece, partial: boolean, flags: number): void {
    const [out, err] = this.#pending;
    let { spoolEnd } = piece;
    let back = 0;
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
    this.#batch.append(piece, partial, spoolEnd, flags, back);
  }
}
