/** Lines of a log for a model's context: few, short, printable. */
import type { LogLine } from '../client/answers.ts';
import type { TextLine } from '../jobs/error-lines.ts';
import { clip, printable } from './printable.ts';
import { beginningOf, endOf } from '../observability/cut-text.ts';

/** No line is longer, no matter what the job printed. */
const MAX_LINE = 2_000;

/** Before what Flashpods itself says in a log. */
const MARK = '[flashpods] ';
/** What might be taken for it: with a backslash it is text. */
const LIKE_MARK = /\[(?=[\s\p{Cf}]*flashpods[\s\p{Cf}]*\])/giu;

interface Gathered {
  readonly seq: number;
  /** Flashpods says it, not the job. */
  readonly isOurs: boolean;
  head: string;
  tail: string;
  /** Characters between the two. */
  left: number;
}

const HALF_LINE = MAX_LINE / 2;

/** Pieces of overlong lines put together again, two streams side by side. Of each line only what is shown is kept. */
export function linesOf(records: readonly LogLine[]): TextLine[] {
  const lines: Gathered[] = [];
  const open = new Map<string, Gathered>();
  for (const { seq, stream, text, partial } of records) {
    let line = open.get(stream);
    if (!line) {
      line = { seq, head: stream === 'system' ? MARK : '', isOurs: stream === 'system', tail: '', left: 0 };
      lines.push(line);
    }
    append(line, text);
    if (partial) open.set(stream, line);
    else open.delete(stream);
  }
  const unended = new Set(open.values());
  return lines.map((line) => ({ seq: line.seq, text: shown(line, unended.has(line)) }));
}

function append(line: Gathered, text: string): void {
  // A head that ends before a character that did not fit is full.
  const room = line.tail === '' ? Math.max(0, HALF_LINE - line.head.length) : 0;
  const more = beginningOf(text, room);
  line.head += more;
  const tail = line.tail + text.slice(more.length);
  line.tail = endOf(tail, HALF_LINE);
  line.left += tail.length - line.tail.length;
}

function shown(line: Gathered, unended: boolean): string {
  const text = wholeOf(line, unended);
  return line.isOurs ? text : markedAsText(text);
}

/** Text of a job without the mark of what Flashpods says. */
export const markedAsText = (text: string): string => text.replaceAll(LIKE_MARK, '\\[');

function wholeOf({ head, tail, left }: Gathered, unended: boolean): string {
  const goesOn = unended && tail !== '' ? ' …' : '';
  if (left === 0) return printable(head + tail) + goesOn;
  return `${printable(head)} …[${left} characters left out]… ${printable(tail)}${goesOn}`;
}

export interface Excerpt {
  readonly text: string;
  readonly lines: number;
  /** Lines that were given and did not fit. */
  readonly omitted: number;
}

/** As many of the last lines (or the first) as fit into `maxBytes` of JSON, but for its line ends; at least a part of one. */
export function excerpt(
  lines: readonly TextLine[],
  maxBytes: number,
  from: 'end' | 'start' = 'end',
): Excerpt {
  const chosen: string[] = [];
  let bytes = 0;
  for (let i = 0; i < lines.length; i += 1) {
    const text = lines[from === 'end' ? lines.length - 1 - i : i]?.text ?? '';
    const size = jsonBytes(text) + 1;
    if (bytes + size > maxBytes) {
      // A character has at most three bytes for each UTF-16 unit, and none that is printable more in JSON.
      if (chosen.length === 0) chosen.push(clip(text, Math.max(1, Math.floor(maxBytes / 3))));
      break;
    }
    bytes += size;
    chosen.push(text);
  }
  if (from === 'end') chosen.reverse();
  return { text: chosen.join('\n'), lines: chosen.length, omitted: lines.length - chosen.length };
}

/** Quotes and backslashes take two bytes in an answer, which is JSON. */
const jsonBytes = (text: string): number => Buffer.byteLength(JSON.stringify(text)) - 2;
