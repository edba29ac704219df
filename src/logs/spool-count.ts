/**
 * Counts what entries of a spool hold, without making a log of them: for what is printed faster than it can be written
 * and is never read, since of a long log only the end is kept.
 */
import type { SpoolGap } from './spool-gaps.ts';
import { HeaderReader, isPartial } from './spool-entry.ts';

/** What was printed up to an offset of the spool. */
export interface Counted {
  readonly entries: number;
  /** Ends of lines. */
  readonly lines: number;
  /** As the job printed them. */
  readonly bytes: number;
}

/** A place between two lines, and what stands before it. */
export interface Place extends Counted {
  readonly offset: number;
}

const NEWLINE = 10;
const SPACE = 32;
const WHOLE = 0x46; /* F */
/** Length of conmon's own header: `2026-01-02T03:04:05.123456789+00:00 stdout F `. */
const HEADER_BYTES = 45;
/** At most one place in so much of the spool is remembered. */
const PLACE_BYTES = 1024 * 1024;

/** @param before what stands before the gap */
export const placeAfter = (gap: SpoolGap, before: Counted): Place => ({
  offset: gap.to,
  entries: before.entries + gap.entries,
  lines: before.lines + gap.lines,
  bytes: before.bytes + gap.bytes,
});

export class SpoolCount {
  #offset: number;
  #entries: number;
  #lines: number;
  #bytes: number;
  #places: Place[] = [];
  readonly #header = new HeaderReader();

  /** @param counted what stands before `offset`, where an entry begins */
  constructor(offset: number, { entries, lines, bytes }: Counted) {
    this.#offset = offset;
    this.#entries = entries;
    this.#lines = lines;
    this.#bytes = bytes;
  }

  /** Where the next entry begins. */
  get offset(): number {
    return this.#offset;
  }

  /** Takes the whole entries of a chunk that begins at `offset`. @returns the bytes taken */
  take(chunk: Buffer): number {
    let start = 0;
    let isBetweenLines = false;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      let text = start + HEADER_BYTES;
      let isWhole = chunk[start + 43] === WHOLE;
      // Anything else is looked at as the encoder does.
      if (
        text > end ||
        chunk[start + 35] !== SPACE ||
        chunk[start + 42] !== SPACE ||
        chunk[start + 44] !== SPACE
      ) {
        text = this.#header.read(chunk, start, end);
        isWhole = text < 0 || !isPartial(chunk, text);
        if (text < 0) text = start;
      }
      this.#entries++;
      this.#bytes += end - text;
      if (isWhole) {
        this.#lines++;
        this.#bytes++;
      }
      isBetweenLines = isWhole;
      start = end + 1;
    }
    this.#offset += start;
    if (isBetweenLines) this.#remember();
    return start;
  }

  /** Passes over what was given back of the spool. */
  pass(gap: SpoolGap): void {
    const { offset, entries, lines, bytes } = placeAfter(gap, {
      entries: this.#entries,
      lines: this.#lines,
      bytes: this.#bytes,
    });
    this.#offset = offset;
    this.#entries = entries;
    this.#lines = lines;
    this.#bytes = bytes;
    this.#places.push({ offset, entries, lines, bytes });
  }

  /** The last place after which `bytes` or more were printed; null when none is known. */
  before(bytes: number): Place | null {
    const found = this.#places.findLast((place) => this.#bytes - place.bytes >= bytes) ?? null;
    if (found !== null) this.#places = this.#places.filter(({ offset }) => offset >= found.offset);
    return found;
  }

  #remember(): void {
    const last = this.#places.at(-1);
    if (last !== undefined && this.#offset - last.offset < PLACE_BYTES) return;
    const [offset, entries, lines, bytes] = [this.#offset, this.#entries, this.#lines, this.#bytes];
    this.#places.push({ offset, entries, lines, bytes });
  }
}
