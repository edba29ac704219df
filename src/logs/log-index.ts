/**
 * The index beside a part of a job's log: fixed records of 64 bytes, little-endian, one for every group of pieces.
 *
 * | bytes | field    | meaning                                                                              |
 * |-------|----------|--------------------------------------------------------------------------------------|
 * | 0–7   | logEnd   | end of the group in the log, as if nothing of it had ever been left out              |
 * | 8–15  | timeMs   | when the lines of the group began, ms since the Unix epoch                           |
 * | 16–23 | spoolEnd | everything of the spool before this byte is in the log, but for what `back` covers   |
 * | 24–27 | flags    | bits 0–1 stream, then PARTIAL, UNENDED, PENDING_STDOUT, PENDING_STDERR               |
 * | 28–31 | back     | bytes before spoolEnd at which the one pending stream's unwritten bytes begin        |
 * | 32–39 | pieces   | pieces of the log up to here, those of the group counted                             |
 * | 40–47 | lines    | line ends in the log up to here                                                      |
 * | 48–55 | printed  | bytes that the job printed up to here                                                |
 * | 56–63 | carry    | of stdout, then of stderr: the bytes (their number, then they) of a character that   |
 * |       |          | began before spoolEnd and is to be written with its other bytes                      |
 *
 * A piece is a line, or a part of an overlong one (PARTIAL: the line goes on). A group is one piece, or several whole
 * lines of one stream and one millisecond. When a piece of another stream follows a PARTIAL one, its bytes begin with
 * the newline that breaks the open line. The log is written before its records, so a record never promises bytes that
 * are not there.
 */
export const RECORD_BYTES = 64;

/** `[HH:MM:SS.mmm] `, in front of every line of the log. */
export const PREFIX_BYTES = 15;

export const STDOUT = 0;
export const STDERR = 1;
export const SYSTEM = 2;
export const MERGED = 3;
export type StreamNumber = typeof STDOUT | typeof STDERR | typeof SYSTEM | typeof MERGED;

export const STREAM_NAMES = ['stdout', 'stderr', 'system', 'merged'] as const;
export type LogStream = (typeof STREAM_NAMES)[number];

export const STREAM_MASK = 3;
export const PARTIAL = 4;
/** The job did not print the newline that ends the line. */
export const UNENDED = 8;
export const PENDING_STDOUT = 16;
export const PENDING_STDERR = 32;

export interface IndexRecord {
  readonly logEnd: number;
  readonly timeMs: number;
  readonly spoolEnd: number;
  readonly flags: number;
  readonly back: number;
  readonly pieces: number;
  readonly lines: number;
  readonly printed: number;
  readonly carry: readonly [number, number];
}

/** What stands before the first record of a log. */
export const NO_RECORD: IndexRecord = {
  logEnd: 0,
  timeMs: 0,
  spoolEnd: 0,
  flags: 0,
  back: 0,
  pieces: 0,
  lines: 0,
  printed: 0,
  carry: [0, 0],
};

const TWO_32 = 4_294_967_296;

export const writeU64 = (view: DataView, offset: number, value: number): void => {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
};

export const readU64 = (view: DataView, offset: number): number =>
  view.getUint32(offset, true) + view.getUint32(offset + 4, true) * TWO_32;

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Writes record number `position` of `view`. */
export const writeRecord = (view: DataView, position: number, record: IndexRecord): void => {
  const offset = position * RECORD_BYTES;
  writeU64(view, offset, record.logEnd);
  writeU64(view, offset + 8, record.timeMs);
  writeU64(view, offset + 16, record.spoolEnd);
  view.setUint32(offset + 24, record.flags, true);
  view.setUint32(offset + 28, record.back, true);
  writeU64(view, offset + 32, record.pieces);
  writeU64(view, offset + 40, record.lines);
  writeU64(view, offset + 48, record.printed);
  view.setUint32(offset + 56, record.carry[0], true);
  view.setUint32(offset + 60, record.carry[1], true);
};

export const readRecord = (view: DataView, position: number): IndexRecord => {
  const offset = position * RECORD_BYTES;
  return {
    logEnd: readU64(view, offset),
    timeMs: readU64(view, offset + 8),
    spoolEnd: readU64(view, offset + 16),
    flags: view.getUint32(offset + 24, true),
    back: view.getUint32(offset + 28, true),
    pieces: readU64(view, offset + 32),
    lines: readU64(view, offset + 40),
    printed: readU64(view, offset + 48),
    carry: [view.getUint32(offset + 56, true), view.getUint32(offset + 60, true)],
  };
};

export const logEndAt = (view: DataView, position: number): number => readU64(view, position * RECORD_BYTES);
export const flagsAt = (view: DataView, position: number): number =>
  view.getUint32(position * RECORD_BYTES + 24, true);
export const timeAt = (view: DataView, position: number): number =>
  readU64(view, position * RECORD_BYTES + 8);
export const piecesAt = (view: DataView, position: number): number =>
  readU64(view, position * RECORD_BYTES + 32);

export const streamOf = (flags: number): StreamNumber => (flags & STREAM_MASK) as StreamNumber;

/** Whether a piece goes on with the line that the piece before it left open. */
export const continuesLine = (flags: number, previousFlags: number): boolean =>
  (previousFlags & PARTIAL) !== 0 && streamOf(previousFlags) === streamOf(flags);

/** Whether a piece's first byte is the newline that breaks the line which the piece before it left open. */
export const breaksLine = (flags: number, previousFlags: number): boolean =>
  (previousFlags & PARTIAL) !== 0 && streamOf(previousFlags) !== streamOf(flags);
