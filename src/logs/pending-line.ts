/** A line that has no end yet is written in pieces of about this many bytes; no more of it is in memory than one entry of the spool besides. */
export const PIECE_BYTES = 64 * 1024;

const FIRST_BYTES = 8192;

/** What has come of a line that is not written yet, up to {@link PIECE_BYTES} and one entry. */
export class PendingLine {
  readonly timeMs: number;
  /** Offset of the spool entry with which the bytes begin that are carried by no record; Infinity: there are none. */
  spoolStart = Infinity;
  length = 0;
  /** The first bytes of a character, from entries that are done: each record carries them. */
  carried = 0;
  buffer: Buffer;

  constructor(timeMs: number, bytes: number) {
    this.timeMs = timeMs;
    this.buffer = Buffer.allocUnsafe(Math.max(bytes, FIRST_BYTES));
  }

  /** One that begins with the first bytes of a character. */
  static carrying(timeMs: number, bytes: Buffer): PendingLine {
    const line = new PendingLine(timeMs, bytes.length);
    bytes.copy(line.buffer);
    line.length = line.carried = bytes.length;
    return line;
  }

  /** @param spoolStart where the bytes' entry begins in the spool */
  add(chunk: Buffer, start: number, end: number, spoolStart: number): void {
    const needed = this.length + (end - start);
    if (needed > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, Math.min(PIECE_BYTES, this.buffer.length * 2)));
      this.buffer.copy(larger, 0, 0, this.length);
      this.buffer = larger;
    }
    chunk.copy(this.buffer, this.length, start, end);
    this.length = needed;
    if (this.spoolStart === Infinity) this.spoolStart = spoolStart;
  }
}
