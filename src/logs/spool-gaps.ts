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

/** One after the other without anything between them are one. */
function parse(text: string): SpoolGap[] {
  const gaps: SpoolGap[] = [];
  for (const [, ...numbers] of text.matchAll(/^(\d+) (\d+) (\d+) (\d+) (\d+)\n/gm)) {
    const [from = 0, to = 0, entries = 0, lines = 0, bytes = 0] = numbers.map(Number);
    const last = gaps.at(-1);
    if (last?.to !== from) gaps.push({ from, to, entries, lines, bytes });
    else
      gaps.splice(-1, 1, {
        from: last.from,
        to,
        entries: last.entries + entries,
        lines: last.lines + lines,
        bytes: last.bytes + bytes,
      });
  }
  return gaps;
}
