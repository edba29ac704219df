/** What `spool-guard.pl` has given back of a spool that nobody read in time: which bytes, and what was in them. */
import { readFile, stat } from 'node:fs/promises';
import { ifMissing } from '../files/if-missing.ts';
import type { Counted } from './spool-count.ts';

export interface SpoolGap extends Counted {
  /** Entries begin here. */
  readonly from: number;
  readonly to: number;
}

/** Beside `spool.log`. */
export const gapsPath = (spoolPath: string): string => spoolPath.replace(/(?:\.log)?$/, '.gaps');

export class SpoolGaps {
  readonly #path: string;
  #size = 0;
  #gaps: readonly SpoolGap[] = [];

  constructor(spoolPath: string) {
    this.#path = gapsPath(spoolPath);
  }

  /** Those written down by now. What was read of a spool counts only if it is asked for afterwards. */
  async read(): Promise<readonly SpoolGap[]> {
    const size = (await stat(this.#path).catch(ifMissing(null)))?.size ?? 0;
    if (size !== this.#size) {
      this.#gaps = parse(await readFile(this.#path, 'utf8'));
      this.#size = size;
    }
    return this.#gaps;
  }
}

function parse(text: string): SpoolGap[] {
  return [...text.matchAll(/^(\d+) (\d+) (\d+) (\d+) (\d+)\n/gm)].map(([, ...numbers]) => {
    const [from = 0, to = 0, entries = 0, lines = 0, bytes = 0] = numbers.map(Number);
    return { from, to, entries, lines, bytes };
  });
}

/**
 * What is left out at an offset: those that follow each other without anything between them are one.
 * @returns null: nothing. With `from` before `offset` the reader had taken a part of it before it was given back: how
 *   much is not known, so that one counts for nothing and none is counted twice
 */
export function gapAt(gaps: readonly SpoolGap[], offset: number): SpoolGap | null {
  const first = gaps.findIndex(({ from, to }) => from <= offset && offset < to);
  const [begin, ...later] = first === -1 ? [] : gaps.slice(first);
  if (begin === undefined) return null;
  let gap = begin.from === offset ? begin : { ...begin, entries: 0, lines: 0, bytes: 0 };
  for (const next of later) {
    if (next.from !== gap.to) break;
    gap = {
      from: gap.from,
      to: next.to,
      entries: gap.entries + next.entries,
      lines: gap.lines + next.lines,
      bytes: gap.bytes + next.bytes,
    };
  }
  return gap;
}
