/**
 * The index beside a job's log: fixed records of 32 bytes, little-endian, one for every piece of the log.
 *
 * | bytes | field    | meaning                                                                              |
 * |-------|----------|--------------------------------------------------------------------------------------|
 * | 0–7   | logEnd   | size of the log after this piece                                                     |
 * | 8–15  | timeMs   | when the piece's line began, ms since the Unix epoch                                 |
 * | 16–23 | spoolEnd | everything of the spool before this byte is in the log, but for what `back` covers   |
 * | 24–27 | flags    | bits 0–1 stream, then PARTIAL, TRUNCATED, PENDING_STDOUT, PENDING_STDERR             |
 * | 28–31 | back     | bytes before spoolEnd at which the one pending stream's unwritten bytes begin        |
 *
 * A piece is a line, or a part of an overlong one (PARTIAL: the line goes on). When a piece of another stream
 * follows a PARTIAL one, its bytes begin with the newline that breaks the open line. The log is written
 * before its records, so a record never promises bytes that are not there.
 */
export const RECORD_BYTES = 32;

/** `[HH:MM:SS.mmm] `, in front of every line of the log. */
export const PREFIX_BYTES = 15;

export const STDOUT = 0;
export const STDERR = 1;
export const SYSTEM = 2;
export type StreamNumber = typeof STDOUT | typeof STDERR | typeof SYSTEM;

export const STREAM_NAMES = ['stdout', 'stderr', 'system'] as const;
export type LogStream = (typeof STREAM_NAMES)[number];

const STREAM_MASK = 3;
export const PARTIAL = 4;
export const TRUNCATED = 8;
export const PENDING_STDOUT = 16;
export const PENDING_STDERR = 32;

export interface IndexRecord {
  readonly logEnd: number;
  readonly timeMs: number;
  readonly spoolEnd: number;
  readonly flags: number;
  readonly back: number;
}

const TWO_32 = 4_294_967_296;

const writeU64 = (view: DataView, offset: number, value: number): void => {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
};

const readU64 = (view: DataView, offset: number): number =>
  view.getUint32(offset, true) + view.getUint32(offset + 4, true) * TWO_32;

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Writes record number `position` of `view`. Takes numbers, not an object: millions a second are written. */
export const writeRecord = (
  view: DataView,
  position: number,
  logEnd: number,
  timeMs: number,
  spoolEnd: number,
  flags: number,
  back: number,
): void => {
  const offset = position * RECORD_BYTES;
  writeU64(view, offset, logEnd);
  writeU64(view, offset + 8, timeMs);
  writeU64(view, offset + 16, spoolEnd);
  view.setUint32(offset + 24, flags, true);
  view.setUint32(offset + 28, back, true);
};

export const readRecord = (view: DataView, position: number): IndexRecord => {
  const offset = position * RECORD_BYTES;
  return {
    logEnd: readU64(view, offset),
    timeMs: readU64(view, offset + 8),
    spoolEnd: readU64(view, offset + 16),
    flags: view.getUint32(offset + 24, true),
    back: view.getUint32(offset + 28, true),
  };
};

export const logEndAt = (view: DataView, position: number): number => readU64(view, position * RECORD_BYTES);
export const flagsAt = (view: DataView, position: number): number =>
  view.getUint32(position * RECORD_BYTES + 24, true);

export const streamOf = (flags: number): StreamNumber => {
  const stream = flags & STREAM_MASK;
  return stream === STDERR || stream === SYSTEM ? stream : STDOUT;
};

/** Whether a piece goes on with the line that the piece before it left open. */
export const continuesLine = (flags: number, previousFlags: number): boolean =>
  (previousFlags & PARTIAL) !== 0 && streamOf(previousFlags) === streamOf(flags);

/** Whether a piece's first byte is the newline that breaks the line which the piece before it left open. */
export const breaksLine = (flags: number, previousFlags: number): boolean =>
  (previousFlags & PARTIAL) !== 0 && streamOf(previousFlags) !== streamOf(flags);
