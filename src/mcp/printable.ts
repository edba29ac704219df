/** Text of unknown origin for a model's context: nothing that a terminal or a parser would act on, and bounded. */
import { MAX_NAME, UNSAFE, withoutEscapes } from '../observability/unsafe-text.ts';
import { beginningOf, endOf } from '../observability/cut-text.ts';

const STAND_IN = '\uFFFD';
/** With more than this part of its characters unprintable a line says nothing to anybody. */
const BINARY_PART = 0.1;

/**
 * One line: escape sequences removed, of a progress bar (`\r`) what stood there last, tabs as spaces, and every run of
 * other control characters and of broken UTF-8 as one stand-in. A line that is mostly such is only counted.
 */
export function printable(text: string): string {
  const plain = withoutEscapes(text).replaceAll(/\r?\n/g, ' ');
  const shown = plain.includes('\r')
    ? (plain.split('\r').findLast((piece) => piece.trim() !== '') ?? '')
    : plain;
  const clean = shown
    .replaceAll('\t', '    ')
    .replaceAll(UNSAFE, STAND_IN)
    .replaceAll(/\uFFFD+/g, STAND_IN);
  const unprintable = clean.split(STAND_IN).length - 1;
  if (unprintable <= 1 || unprintable <= clean.length * BINARY_PART) return clean;
  return `[binary: ${text.length} characters]`;
}

/** Lines as they are, without escape sequences and with a stand-in for each other control character. */
export const printableText = (text: string): string =>
  withoutEscapes(text).replaceAll('\r\n', '\n').replaceAll(UNSAFE, STAND_IN);

/** A name that a job chose, in a sentence of ours: quoted, on one line and short. */
export const quoted = (name: string): string => JSON.stringify(clip(printable(name), MAX_NAME));

/** At most `max` characters: beginning and end, and between them how many are left out. */
export function clip(text: string, max: number): string {
  if (text.length <= max) return text;
  const note = ` …[${text.length - max} characters left out]… `;
  const room = Math.max(0, max - note.length);
  const head = Math.ceil(room / 2);
  return `${beginningOf(text, head)}${note}${endOf(text, room - head)}`;
}
