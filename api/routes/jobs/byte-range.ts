/** One range of bytes, both ends included. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/**
 * A `Range` header for `size` bytes (RFC 9110, 14.2).
 * @returns null for none, a malformed one, another unit or several ranges, all of which are answered in full
 */
export function parseRange(header: string, size: number): ByteRange | 'unsatisfiable' | null {
  const match = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(header);
  if (!match) return null;
  const [, from = '', to = ''] = match;
  if (from === '' && to === '') return null;
  if (from === '') {
    const suffix = Number(to);
    if (suffix === 0 || size === 0) return 'unsatisfiable';
    return { first: Math.max(0, size - suffix), last: size - 1 };
  }
  const first = Number(from);
  if (to !== '' && Number(to) < first) return null;
  if (first >= size) return 'unsatisfiable';
  return { first, last: to === '' ? size - 1 : Math.min(Number(to), size - 1) };
}

const opaque = (tag: string): string => tag.trim().replace(/^W\//, '');

/** `If-None-Match` by weak comparison (RFC 9110, 13.1.2). `tag` holds no comma. */
export const entityTagMatches = (header: string, tag: string): boolean =>
  header.trim() === '*' || header.split(',').some((candidate) => opaque(candidate) === opaque(tag));
