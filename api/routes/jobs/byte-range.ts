import { parse, type Range } from 'range-parser';

/**
 * A `Range` header for `size` bytes (RFC 9110, 14.2), both ends included.
 * @returns null for none, a malformed one, another unit or several ranges, all of which are answered in full
 */
export function parseRange(header: string, size: number): Range | 'unsatisfiable' | null {
  const { code, type, ranges } = parse(size, header);
  const isMalformed = (code & 1) !== 0;
  if (isMalformed || type !== 'bytes' || ranges.length > 1) return null;
  return ranges[0] ?? 'unsatisfiable';
}

const opaque = (tag: string): string => tag.trim().replace(/^W\//, '');

/**
 * `If-None-Match` by weak comparison (RFC 9110, 13.1.2). `tag` holds no comma. Koa's `fresh` asks for more: it takes no
 * request with `Cache-Control: no-cache` for fresh, which is what `fetch` adds to every one with `If-None-Match`.
 */
export const entityTagMatches = (header: string, tag: string): boolean =>
  header.trim() === '*' || header.split(',').some((candidate) => opaque(candidate) === opaque(tag));
