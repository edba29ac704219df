/** An entry of the runtime's spool (k8s-file): `<RFC3339Nano> stdout|stderr F|P <bytes>\n`. */
import { STDERR, STDOUT } from './log-index.ts';

const SPACE = 32;

/** No header is longer: a torn entry below this length may hold nothing but the beginning of one. */
export const MIN_ENTRY_BYTES = 48;

/** The stream of an entry whose text begins at `text`. */
export const streamOfEntry = (chunk: Buffer, text: number): typeof STDOUT | typeof STDERR =>
  chunk[text - 6] === 0x65 /* std(e)rr */ ? STDERR : STDOUT;

/** Whether the line of an entry goes on in the stream's next entry. */
export const isPartial = (chunk: Buffer, text: number): boolean => chunk[text - 2] === 0x50; /* P */

/** Reads headers of entries. Lines of one minute share the parsed part of their time. */
export class HeaderReader {
  /** Time of the last entry that had one, ms since the Unix epoch. */
  timeMs = 0;
  readonly #minute = new Uint8Array(22);
  #minuteMs = Number.NaN;

  /** Reads the header of the entry `chunk[start…end)`. @returns where its text begins, or -1 when it has none */
  read(chunk: Buffer, start: number, end: number): number {
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
      this.timeMs =
        this.#minuteMs + (digit(17) * 10 + digit(18)) * 1000 + digit(20) * 100 + digit(21) * 10 + digit(22);
    } else {
      // Another precision or zone notation than conmon's own.
      space = chunk.indexOf(SPACE, start);
      if (space < 0 || space - start > 40 || end - space < 10) return -1;
      this.#minute[0] = 0;
      const time = Date.parse(chunk.toString('latin1', start, space).replace(/(\.\d{3})\d+/, '$1'));
      if (Number.isNaN(time)) return -1;
      this.timeMs = time;
    }
    const isHeader =
      !Number.isNaN(this.timeMs) &&
      chunk[space + 1] === 0x73 &&
      chunk[space + 2] === 0x74 &&
      chunk[space + 3] === 0x64 &&
      (chunk[space + 4] === 0x6f || chunk[space + 4] === 0x65) &&
      chunk[space + 7] === SPACE &&
      (chunk[space + 8] === 0x46 || chunk[space + 8] === 0x50) &&
      chunk[space + 9] === SPACE;
    if (isHeader) return space + 10;
    if (Number.isNaN(this.timeMs)) this.timeMs = 0;
    return -1;
  }
}
