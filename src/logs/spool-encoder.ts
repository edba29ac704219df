import { CHARACTER_BYTES, unfinishedBytes } from './characters.ts';
import { HeaderReader, isPartial, MIN_ENTRY_BYTES, streamOfEntry } from './spool-entry.ts';
import { LogBatch, Piece } from './log-batch.ts';
import type { Counted, Place } from './spool-count.ts';
import {
  type IndexRecord,
  MERGED,
  NO_RECORD,
  PREFIX_BYTES,
  type StreamNumber,
  PENDING_STDERR,
  PENDING_STDOUT,
  STDERR,
  STDOUT,
  SYSTEM,
  UNENDED,
} from './log-index.ts';
import { PendingLine, PIECE_BYTES } from './pending-line.ts';

/**
 * An unfinished line of one stream that nobody has asked to flush waits in memory while the other stream prints this
 * much of the spool, then it is written as it is. It bounds what a resumed capture reads again, and how much spool must be kept.
 */
export const PENDING_REACH_BYTES = 4 * 1024 * 1024;

const BATCH_BYTES = 1024 * 1024;
const GROUP_BYTES = 32 * 1024;
const NEWLINE = 10;

export interface EncoderOptions {
  /** The job's stdout and stderr are one pipe. */
  readonly merged?: boolean | undefined;
  /** Most bytes of log that share a record. */
  readonly groupBytes?: number | undefined;
  /** The last record of an earlier capture. */
  readonly resume?: IndexRecord | undefined;
}

type Pipe = typeof STDOUT | typeof STDERR;

/**
 * Turns the runtime's spool (k8s-file: `<RFC3339Nano> stdout|stderr F|P <bytes>\n`) into log bytes and index
 * records. Pure: no input or output of its own, and what it makes depends on nothing but the spool's bytes, the
 * calls and the options. A capture that resumes at a record makes a log with the same lines; where system lines and
 * flushes of unfinished ones come in between is told by nothing but the calls.
 * An entry that is not of that form is kept whole as a line of stdout. A character is never cut: the first bytes of
 * one wait for the others.
 */
export class SpoolEncoder {
  readonly #merged: boolean;
  readonly #groupBytes: number;
  readonly #pending: [PendingLine | null, PendingLine | null] = [null, null];
  readonly #header = new HeaderReader();
  readonly #batch = new LogBatch();
  readonly #piece = new Piece();
  #spoolOffset = 0;
  /** What this encoder was given. */
  #entries = 0;
  #lines = 0;
  #bytes = 0;
  /** Until this offset only entries of `#replayed` count; the others are in the log already. */
  #replayEnd = 0;
  #replayed: StreamNumber | -1 = -1;

  constructor({ merged = false, groupBytes = GROUP_BYTES, resume }: EncoderOptions) {
    this.#merged = merged;
    this.#groupBytes = groupBytes;
    if (resume === undefined) return;
    this.#batch.resume(resume);
    this.#header.timeMs = resume.timeMs;
    this.#spoolOffset = resume.spoolEnd - resume.back;
    this.#replayEnd = resume.spoolEnd;
    if (resume.flags & PENDING_STDOUT) this.#replayed = STDOUT;
    if (resume.flags & PENDING_STDERR) this.#replayed = STDERR;
    for (const pipe of [STDOUT, STDERR] as const) {
      const bytes = unpackCarry(resume.carry[pipe]);
      if (bytes.length > 0) this.#pending[pipe] = PendingLine.carrying(resume.timeMs, bytes);
    }
  }

  /** Where the next entry of the spool begins: read on from here. */
  get spoolOffset(): number {
    return this.#spoolOffset;
  }

  /** Nothing before this offset of the spool is needed again once the batch is written. */
  get spoolDone(): number {
    return Math.min(this.#spoolOffset, this.#reach(STDOUT), this.#reach(STDERR));
  }

  /** What it has taken of the spool. */
  get counted(): Counted {
    return { entries: this.#entries, lines: this.#lines, bytes: this.#bytes };
  }

  /** It reads again what is in the log already, for an unfinished line. */
  get isReplaying(): boolean {
    return this.#spoolOffset < this.#replayEnd;
  }

  /**
   * What stands before the log from `place` on, if all between here and there is left out, unfinished lines as well. The
   * batch has to be empty.
   */
  recordBefore({ offset, entries, lines, bytes }: Place): IndexRecord {
    const { logEnd, pieces, printed, lines: ends } = this.#batch;
    const waiting = this.#pending.reduce((sum, line) => sum + (line?.length ?? 0), 0);
    const [left, leftLines] = [bytes - this.#bytes + waiting, lines - this.#lines];
    return {
      ...NO_RECORD,
      // As if all of it were one line each.
      logEnd: logEnd + left + leftLines * PREFIX_BYTES + 1,
      timeMs: this.#header.timeMs,
      spoolEnd: offset,
      pieces: pieces + entries - this.#entries + 1,
      lines: ends + leftLines,
      printed: printed + left,
    };
  }

  /** Goes on at `place`, before which `record` stands. */
  skip({ offset, entries, lines, bytes }: Place, record: IndexRecord): void {
    this.#pending.fill(null);
    this.#spoolOffset = offset;
    [this.#entries, this.#lines, this.#bytes] = [entries, lines, bytes];
    this.#batch.resume(record);
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

  /** Appends a line of Flashpods's own. Newlines make several lines. */
  system(text: string, timeMs: number): void {
    for (const line of text.replace(/\r?\n$/, '').split(/\r?\n/)) {
      // A record names at most one pending stream.
      if (this.#reach(STDOUT) < Infinity && this.#reach(STDERR) < Infinity)
        this.#flushPending(this.#reach(STDOUT) < this.#reach(STDERR) ? STDOUT : STDERR, this.#spoolOffset);
      const bytes = Buffer.from(line);
      const piece = this.#piece.begin(SYSTEM, timeMs, this.#spoolOffset);
      this.#append(piece.withText(bytes, 0, bytes.length), false);
    }
  }

  /**
   * Takes whole entries from `chunk[0…length)`, which must begin at `spoolOffset`, until it is used up or the
   * batch is full. @returns the bytes taken; 0 with an empty batch: there is no whole entry in it.
   */
  encode(chunk: Buffer, length: number): number {
    let position = 0;
    while (position < length && this.#batch.length < BATCH_BYTES) {
      const end = chunk.indexOf(NEWLINE, position);
      if (end < 0 || end >= length) break;
      this.#entry(chunk, position, end, false);
      position = end + 1;
    }
    return position;
  }

  /** Takes all of `chunk[0…length)` as one entry, cut short: one that no chunk can hold, or that a kill tore. */
  encodeTorn(chunk: Buffer, length: number): void {
    if (length > 0) this.#entry(chunk, 0, length, true);
  }

  /**
   * Writes what there is of unfinished lines that began before `startedBefore` of the spool; their rest will follow
   * as further pieces.
   */
  flushUnfinished(startedBefore: number): void {
    const errFirst = this.#reach(STDERR) < this.#reach(STDOUT);
    for (const pipe of errFirst ? ([STDERR, STDOUT] as const) : ([STDOUT, STDERR] as const))
      if (this.#reach(pipe) < startedBefore && (this.#pending[pipe]?.length ?? 0) > 0)
        this.#flushPending(pipe, this.#spoolOffset);
  }

  /** The spool is at its end: writes what is pending and ends the last line. May be called again. */
  end(): void {
    const first = this.#reach(STDOUT) <= this.#reach(STDERR) ? STDOUT : STDERR;
    for (const pipe of [first, first === STDOUT ? STDERR : STDOUT] as const) {
      const own = this.#pending[pipe];
      this.#pending[pipe] = null;
      if (own === null) continue;
      const piece = this.#piece.begin(this.#streamOf(pipe), own.timeMs, this.#spoolOffset);
      this.#append(piece.withText(own.buffer, 0, own.length), false, UNENDED);
    }
    const { open } = this.#batch;
    if (open !== -1)
      this.#append(this.#piece.begin(open, this.#header.timeMs, this.#spoolOffset), false, UNENDED);
  }

  /** Where in the spool that begins which waits for a line's end; Infinity when nothing of it does. */
  #reach(pipe: Pipe): number {
    return this.#pending[pipe]?.spoolStart ?? Infinity;
  }

  #streamOf(pipe: Pipe): StreamNumber {
    return this.#merged && pipe === STDOUT ? MERGED : pipe;
  }

  #entry(chunk: Buffer, start: number, end: number, torn: boolean): void {
    const spoolStart = this.#spoolOffset;
    const spoolEnd = spoolStart + (end - start) + (torn ? 0 : 1);
    let pipe: Pipe = STDOUT;
    let partial = torn;
    let textStart = start;
    const text = this.#header.read(chunk, start, end);
    if (text > 0) {
      pipe = streamOfEntry(chunk, text);
      partial ||= isPartial(chunk, text);
      textStart = text;
    } else if (torn && end - start < MIN_ENTRY_BYTES) {
      // The beginning of a header, no output.
      this.#spoolOffset = spoolEnd;
      return;
    }
    if (spoolStart < this.#replayEnd && pipe !== this.#replayed) {
      this.#spoolOffset = spoolEnd;
      return;
    }
    this.#entries++;
    this.#bytes += end - textStart;
    if (!partial) {
      this.#lines++;
      this.#bytes++;
    }
    const other = pipe === STDOUT ? STDERR : STDOUT;
    if (spoolStart - this.#reach(other) > PENDING_REACH_BYTES) this.#flushPending(other, spoolStart);
    const own = this.#pending[pipe];
    if (partial) {
      const length = end - textStart;
      if (own !== null && own.length + length > PIECE_BYTES) this.#flushPending(pipe, spoolStart);
      const line = (this.#pending[pipe] ??= new PendingLine(this.#header.timeMs, length));
      line.add(chunk, textStart, end, spoolStart);
      this.#spoolOffset = spoolEnd;
      if (line.length > PIECE_BYTES) this.#flushPending(pipe, spoolEnd);
    } else {
      this.#pending[pipe] = null;
      const timeMs = own?.timeMs ?? this.#header.timeMs;
      const piece = this.#piece.begin(this.#streamOf(pipe), timeMs, spoolEnd);
      if (own !== null) piece.withHead(own.buffer, own.length);
      this.#append(piece.withText(chunk, textStart, end), false);
      this.#spoolOffset = spoolEnd;
    }
  }

  /** Writes what waits of an unfinished line, but for the first bytes of a character that has not come whole. */
  #flushPending(pipe: Pipe, spoolEnd: number): void {
    const own = this.#pending[pipe];
    if (own === null) return;
    const rest = unfinishedBytes(own.buffer, own.length);
    const length = own.length - rest;
    // Only the first bytes of one character: they are written with the others, or at the end.
    if (length === 0 && rest > 0) return;
    const carried = Buffer.from(own.buffer.subarray(length, own.length));
    this.#pending[pipe] = rest === 0 ? null : PendingLine.carrying(own.timeMs, carried);
    const piece = this.#piece.begin(this.#streamOf(pipe), own.timeMs, spoolEnd);
    this.#append(piece.withText(own.buffer, 0, length), true);
  }

  /** Appends a piece with a record that tells where a successor would go on reading. */
  #append(piece: Piece, partial: boolean, flags = 0): void {
    const [out, err] = this.#pending;
    const carry = out === null && err === null ? NO_CARRY : ([packCarry(out), packCarry(err)] as const);
    let { spoolEnd } = piece;
    let back = 0;
    if (spoolEnd < this.#replayEnd) {
      // It came while the replayed stream's unfinished line is still being read again.
      const isErr = this.#replayed === STDERR;
      flags |= isErr ? PENDING_STDERR : PENDING_STDOUT;
      const from = this.#reach(isErr ? STDERR : STDOUT);
      back = this.#replayEnd - (from === Infinity ? spoolEnd : from);
      spoolEnd = this.#replayEnd;
    } else if (this.#reach(STDOUT) < Infinity) {
      flags |= PENDING_STDOUT;
      back = spoolEnd - this.#reach(STDOUT);
    } else if (this.#reach(STDERR) < Infinity) {
      flags |= PENDING_STDERR;
      back = spoolEnd - this.#reach(STDERR);
    }
    this.#batch.append(piece, partial, { spoolEnd, flags, back, carry }, this.#groupBytes);
  }
}

const NO_CARRY = [0, 0] as const;

/** The number of bytes, and they. What holds nothing but the beginning of a character waits for nothing else of the spool. */
function packCarry(line: PendingLine | null): number {
  if (line === null) return 0;
  if (
    line.length > 0 &&
    line.length < CHARACTER_BYTES &&
    unfinishedBytes(line.buffer, line.length) === line.length
  ) {
    line.carried = line.length;
    line.spoolStart = Infinity;
  }
  let packed = line.carried;
  for (let i = 0; i < line.carried; i++) packed |= (line.buffer[i] ?? 0) << (8 * (i + 1));
  return packed >>> 0;
}

const unpackCarry = (packed: number): Buffer =>
  Buffer.from(
    Array.from(
      { length: Math.min(packed & 0xff, CHARACTER_BYTES - 1) },
      (_, i) => (packed >>> (8 * (i + 1))) & 0xff,
    ),
  );
