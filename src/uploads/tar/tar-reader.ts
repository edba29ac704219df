/**
 * Reads a tar (POSIX.1-2001 with pax headers, ustar, GNU) one entry after another, as hostile bytes: a header is
 * refused before it lies in memory whole, and sizes are numbers or the tar is refused.
 */
import { ByteReader } from '../../files/byte-reader.ts';
import type { TreeBudget } from '../../trees/budget.ts';
import { refusal } from './tar-entry.ts';
import type { EntryHeader, EntryType, PaxFields } from './tar-entry.ts';

const BLOCK = 512;
/** Of a pax header or a long name: the longest path and its link take 8 KiB, times and the like some bytes each. */
const MAX_HEADER_BYTES = 64 * 1024;
const MAX_FIELDS = 1000;
/** They hold for every entry that follows. `git archive` writes one. */
const MAX_GLOBAL_FIELDS = 64;
/** In front of one entry. */
const MAX_HEADERS = 8;

const TYPES: Readonly<Record<string, EntryType>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'contiguous-file',
};

/** Fields of a pax header that hold for one entry alone: a global one says nothing of them. */
const OWN_FIELDS = new Set(['path', 'linkpath', 'size']);

const notATar = (why: string, cause?: unknown): Error =>
  refusal(`the body: not a whole tar stream (${why})`, cause);

/** What comes before an entry and is about it. */
interface Ahead {
  pax: PaxFields | null;
  name: string | null;
  linkname: string | null;
}

export class TarReader {
  readonly #bytes: ByteReader;
  readonly #budget: TreeBudget;
  #global: PaxFields | null = null;
  /** Of the content of the last entry, and of its padding. */
  #left = 0;
  #padding = 0;

  /** @param source is destroyed when the reading fails or is ended by `close` */
  constructor(source: AsyncIterable<Buffer>, budget: TreeBudget) {
    this.#bytes = new ByteReader(source);
    this.#budget = budget;
  }

  /** The next entry; null at the end. What is left of the content of the last one is passed over. */
  async next(): Promise<EntryHeader | null> {
    await this.#skip();
    const ahead: Ahead = { pax: null, name: null, linkname: null };
    for (let headers = 0; ;) {
      const block = await this.#bytes.take(BLOCK);
      if (block.length === 0) return null;
      if (block.length < BLOCK) throw notATar('it is cut off');
      this.#budget.step(0);
      if (isZero(block)) continue;
      if (++headers > MAX_HEADERS) throw notATar('headers without an entry');
      const header = decode(block);
      const type = String.fromCharCode(block[156] ?? 0);
      if (!(await this.#takeAhead(type, header.size, ahead))) return this.#entry(header, ahead);
    }
  }

  /** Bytes of the entry that `next` gave, as they come. */
  async *content(): AsyncGenerator<Buffer> {
    while (this.#left > 0) {
      const chunk = await this.#bytes.some(this.#left);
      if (chunk === null) throw refusal('the body: it ended within a file');
      this.#left -= chunk.length;
      yield chunk;
    }
  }

  /** The source is not read any further. */
  close(): Promise<void> {
    return this.#bytes.close();
  }

  /** @returns false for what is the entry itself */
  async #takeAhead(type: string, size: number, ahead: Ahead): Promise<boolean> {
    if (!'xgLKN'.includes(type)) return false;
    if (!(size <= MAX_HEADER_BYTES)) throw notATar(`a header of more than ${MAX_HEADER_BYTES / 1024} KiB`);
    const bytes = await this.#bytes.take(size);
    if (bytes.length < size) throw notATar('it is cut off');
    this.#padding = paddingOf(size);
    await this.#skip();
    if (type === 'x') ahead.pax = fieldsOf(bytes, MAX_FIELDS);
    else if (type === 'g') {
      const fields = fieldsOf(bytes, MAX_GLOBAL_FIELDS);
      this.#global = Object.fromEntries(Object.entries(fields).filter(([key]) => !OWN_FIELDS.has(key)));
    } else if (type === 'K') ahead.linkname = textOf(bytes);
    else ahead.name = textOf(bytes);
    return true;
  }

  #entry(header: Decoded, ahead: Ahead): EntryHeader {
    const { pax } = ahead;
    const own = pax?.['size'];
    const size = own === undefined ? header.size : /^\d{1,15}$/.test(own) ? Number(own) : NaN;
    if (!Number.isSafeInteger(size) || size < 0) throw notATar('an entry without a size');
    // A directory has a size in some tars, and never content.
    this.#left = header.type === 'directory' ? 0 : size;
    this.#padding = paddingOf(this.#left);
    return {
      ...header,
      size: this.#left,
      name: ahead.name ?? header.name,
      linkname: ahead.linkname ?? header.linkname,
      pax: pax === null ? this.#global : { ...this.#global, ...pax },
    };
  }

  async #skip(): Promise<void> {
    for await (const chunk of this.content()) this.#budget.step(chunk.length > 0 ? 0 : 1);
    const padding = this.#padding;
    this.#padding = 0;
    if ((await this.#bytes.take(padding)).length < padding) throw notATar('it is cut off');
  }
}

interface Decoded {
  readonly name: string;
  readonly linkname: string;
  readonly type: EntryType | null;
  readonly mode: number;
  readonly size: number;
  readonly mtime: number;
}

/** @throws FlashpodsError for what is no header */
function decode(block: Buffer): Decoded {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK; at++) if (at < 148 || at >= 156) sum += block[at] ?? 0;
  const magic = block.toString('latin1', 257, 265);
  const isPosix = magic.startsWith('ustar\0');
  if (sum !== numberAt(block, 148, 8) || !(isPosix || magic === 'ustar  \0'))
    throw notATar('is it compressed, or cut off?');
  const size = numberAt(block, 124, 12);
  if (!Number.isSafeInteger(size) || size < 0) throw notATar('an entry without a size');
  const prefix = isPosix ? textOf(block.subarray(345, 500)) : '';
  const name = textOf(block.subarray(0, 100));
  const type = TYPES[String.fromCharCode(block[156] ?? 0)] ?? null;
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkname: textOf(block.subarray(157, 257)),
    type: type === 'file' && name.endsWith('/') && size === 0 ? 'directory' : type,
    mode: numberAt(block, 100, 8) || 0,
    size,
    mtime: numberAt(block, 136, 12),
  };
}

/** Octal digits, or bytes after a first one with its highest bit set, as GNU has it. NaN for neither. */
function numberAt(block: Buffer, from: number, length: number): number {
  const field = block.subarray(from, from + length);
  const first = field[0] ?? 0;
  if (first === 0x80 || first === 0xff) {
    const value = BigInt.asIntN(8 * (length - 1), BigInt(`0x${field.toString('hex', 1)}`));
    return Number(first === 0xff || value >= 0n ? value : NaN);
  }
  const digits = field.toString('latin1').replace(/\0.*$/s, '').trim();
  return digits === '' ? 0 : /^[0-7]+$/.test(digits) ? parseInt(digits, 8) : NaN;
}

/** Up to a NUL, one character a byte. */
function textOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end === -1 ? bytes.length : end);
}

/** `LENGTH KEY=VALUE\n` again and again, all of it UTF-8. */
function fieldsOf(bytes: Buffer, most: number): PaxFields {
  const fields: Record<string, string> = Object.create(null) as Record<string, string>;
  let count = 0;
  for (let at = 0; at < bytes.length && bytes[at] !== 0;) {
    const space = bytes.indexOf(0x20, at);
    const digits = space === -1 ? '' : bytes.toString('latin1', at, Math.min(space, at + 8));
    const length = /^\d+$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = bytes.indexOf(0x3d, space);
    if (end > bytes.length || bytes[end - 1] !== 0x0a || equals === -1 || equals >= end)
      throw notATar('a broken pax header');
    if (++count > most) throw notATar(`a pax header of more than ${most} fields`);
    fields[bytes.toString('utf8', space + 1, equals)] = bytes.toString('utf8', equals + 1, end - 1);
    at = end;
  }
  return fields;
}

const paddingOf = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

const ZEROS = Buffer.alloc(BLOCK);
const isZero = (block: Buffer): boolean => block.equals(ZEROS);
