/** A line that has no end yet is written in pieces of at most this many bytes; no more of it is ever in memory. */
export const PIECE_BYTES = 64 * 1024;

const FIRST_BYTES = 8192;

/** What has come of a line that is not written yet, at most {@link PIECE_BYTES}. */
export class PendingLine {
  readonly timeMs: number;
  /** Offset of the spool entry with which the bytes begin. */
  readonly spoolStart: number;
  length = 0;
  buffer: Buffer;

  constructor(timeMs: number, spoolStart: number, bytes: number) {
    this.timeMs = timeMs;
    this.spoolStart = spoolStart;
    this.buffer = Buffer.allocUnsafe(Math.max(bytes, FIRST_BYTES));
  }

  add(chunk: Buffer, start: number, end: number): void {
    const needed = this.length + (end - start);
    if (needed > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.min(PIECE_BYTES, Math.max(needed, this.buffer.length * 2)));
      this.buffer.copy(larger, 0, 0, this.length);
      this.buffer = larger;
    }
    chunk.copy(this.buffer, this.length, start, end);
    this.length = needed;
  }
}
