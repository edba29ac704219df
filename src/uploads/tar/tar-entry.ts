/** Entries of a tar as a stream tells them: which names they have, and which of these are refused. */
import { FlashpodsError } from '../../errors.ts';
import { bytesOfName, type RawName, rawName } from '../../trees/directory.ts';
import { parseSeconds } from '../../trees/times.ts';
import { MAX_TREE_DEPTH, showName } from '../tree.ts';

const MAX_SEGMENT_BYTES = 255;
const MAX_PATH_BYTES = 4000;

export type EntryType =
  | 'file'
  | 'link'
  | 'symlink'
  | 'character-device'
  | 'block-device'
  | 'directory'
  | 'fifo'
  | 'contiguous-file';

export type PaxFields = Readonly<Record<string, string>>;

export interface EntryHeader {
  readonly name: RawName;
  /** Empty where there is none. */
  readonly linkname: RawName;
  /** Null: of a kind that is not taken. */
  readonly type: EntryType | null;
  readonly mode: number;
  /** Of its content: 0 for a directory. */
  readonly size: number;
  /** Seconds since the epoch; NaN for what is no number. */
  readonly mtime: number;
  readonly pax: PaxFields | null;
}
export type Content = AsyncIterable<Buffer>;

/** A tar that is not taken, and why. */
export const refusal = (message: string, cause?: unknown): FlashpodsError =>
  new FlashpodsError('invalid_request', message, { details: { field: '' }, cause });

/** Of a pax field or the header, nanoseconds since the epoch; null for what is no time. */
export const timeOf = ({ mtime, pax }: EntryHeader): bigint | null => {
  const exact = pax?.['mtime'] === undefined ? null : parseSeconds(pax['mtime']);
  return exact ?? (Number.isSafeInteger(mtime) ? BigInt(mtime) * 1_000_000_000n : null);
};

/** Pax fields of our own: a name that is not UTF-8, one character a byte, which the standard field can't hold. */
export const RAW_FIELDS = { name: 'FLASHPODS.path', linkname: 'FLASHPODS.linkpath' } as const;

/** A name of the header as bytes: pax fields are UTF-8 by definition, all others come as they are. */
export const entryText = (header: EntryHeader, field: 'name' | 'linkname'): RawName => {
  const own = header.pax?.[RAW_FIELDS[field]];
  if (own !== undefined) {
    if ([...own].some((character) => character > '\xff'))
      throw refusal(`the entry ${JSON.stringify(own)}: not one character a byte`);
    return own;
  }
  const pax = header.pax?.[field === 'name' ? 'path' : 'linkpath'];
  if (pax === undefined || pax === '') return header[field];
  if (pax.includes('\ufffd')) throw refusal(`the entry ${JSON.stringify(pax)}: its pax header is not UTF-8`);
  return rawName(pax);
};

/** @throws FlashpodsError invalid_request for a name that leaves the tree or that no file system takes */
export const segmentsOfEntry = (name: RawName, what: string): RawName[] => {
  const shown = showName([name]);
  const bytes = bytesOfName(name);
  if (name.startsWith('/')) throw refusal(`the entry ${shown}: ${what} is absolute`);
  if (bytes.includes(0)) throw refusal(`the entry ${shown}: ${what} has a NUL`);
  if (bytes.length > MAX_PATH_BYTES)
    throw refusal(`the entry ${shown}: ${what} is longer than ${MAX_PATH_BYTES} bytes`);
  const segments = name.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (name === '') throw refusal(`the entry ${shown}: ${what} is empty`);
  if (segments.includes('..')) throw refusal(`the entry ${shown}: ${what} has a segment ".."`);
  if (segments.some((segment) => segment.length > MAX_SEGMENT_BYTES)) {
    throw refusal(`the entry ${shown}: ${what} has a segment of more than ${MAX_SEGMENT_BYTES} bytes`);
  }
  if (segments.length > MAX_TREE_DEPTH) {
    throw refusal(`the entry ${shown}: ${what} lies more than ${MAX_TREE_DEPTH} directories deep`);
  }
  return segments;
};
