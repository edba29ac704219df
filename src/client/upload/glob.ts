/**
 * Patterns of gitignore(5), matched as git's wildmatch.c does, byte by byte: names are one character a byte.
 * `test/client/glob.test.ts` compares it with git itself. A repository may be somebody else's, and a regular expression
 * that tries every way to share a name among many stars takes for ever on some names: with more than a few of them a name
 * is gone through once, with all places in the pattern that it may have reached.
 */
import type { RawName } from '../../trees/directory.ts';

export interface Pattern {
  /** As it was written, for messages. */
  readonly text: string;
  /** `!pattern`: what matches is not left out after all. */
  readonly isNegated: boolean;
  readonly onlyDirectories: boolean;
  /** No slash but at its end: it is compared with the name, at any depth. */
  readonly isName: boolean;
  readonly isMatch: (text: RawName) => boolean;
  /** Whether something was found that it matches. */
  used: boolean;
}

const CLASSES: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '\\x21-\\x7e',
  lower: 'a-z',
  print: '\\x20-\\x7e',
  punct: '\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e',
  space: ' \\t\\n\\v\\f\\r',
  upper: 'A-Z',
  xdigit: '0-9A-Fa-f',
};

const literal = (character: string): string => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;

/** @returns null for an empty line and a comment */
export function parsePattern(line: RawName, options: { readonly ignoreCase?: boolean } = {}): Pattern | null {
  let text = withoutTrailingSpaces(line);
  if (text === '' || text.startsWith('#')) return null;
  const isNegated = text.startsWith('!');
  if (isNegated) text = text.slice(1);
  const onlyDirectories = text.endsWith('/');
  if (onlyDirectories) text = text.slice(0, -1);
  const isName = !text.includes('/');
  const pieces = toPieces(text.startsWith('/') ? text.slice(1) : text);
  return {
    text: Buffer.from(line, 'latin1').toString(),
    isNegated,
    onlyDirectories,
    isName,
    isMatch: pieces === null ? () => false : matcherOf(pieces, options.ignoreCase ?? false),
    used: false,
  };
}

/** The lines of an ignore file. */
export function parsePatterns(content: RawName, options: { readonly ignoreCase?: boolean } = {}): Pattern[] {
  const bom = '\xef\xbb\xbf';
  const text = content.startsWith(bom) ? content.slice(bom.length) : content;
  return text
    .split('\n')
    .map((line) => parsePattern(line.endsWith('\r') ? line.slice(0, -1) : line, options))
    .filter((pattern) => pattern !== null);
}

/** @param path below the directory of the ignore file */
export function matches(pattern: Pattern, path: RawName, isDirectory: boolean): boolean {
  if (pattern.onlyDirectories && !isDirectory) return false;
  const text = pattern.isName ? path.slice(path.lastIndexOf('/') + 1) : path;
  if (!pattern.isMatch(text)) return false;
  pattern.used = true;
  return true;
}

/** Spaces at the end of a line don't count, unless a backslash is before them. */
function withoutTrailingSpaces(line: string): string {
  let end = 0;
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === '\\') {
      at += 1;
      end = Math.min(at + 1, line.length);
    } else if (line[at] !== ' ') end = at + 1;
  }
  return line.slice(0, end);
}

/** `any`: `[^/]*`; `all`: `.*`; `directories`: none, or some with their slashes. Else the expression of one character. */
type Piece = 'any' | 'all' | 'directories' | { readonly one: string };

/** @returns null for a pattern that matches nothing */
function toPieces(pattern: string): Piece[] | null {
  const pieces: Piece[] = [];
  for (let at = 0; at < pattern.length;) {
    const character = pattern[at] ?? '';
    if (character === '*') {
      let end = at;
      while (pattern[end] === '*') end += 1;
      const isBounded =
        end - at > 1 &&
        (at === 0 || pattern[at - 1] === '/') &&
        (end === pattern.length || pattern[end] === '/' || pattern.startsWith('\\/', end));
      if (!isBounded) pieces.push('any');
      else if (pattern[end] === '/') {
        pieces.push('directories');
        end += 1;
      } else pieces.push('all');
      at = end;
    } else if (character === '?') {
      pieces.push({ one: '[^/]' });
      at += 1;
    } else if (character === '[') {
      const set = readSet(pattern, at + 1);
      if (set === null) return null;
      pieces.push({ one: set.source });
      at = set.end;
    } else if (character === '\\') {
      const next = pattern[at + 1];
      if (next === undefined) return null;
      pieces.push({ one: literal(next) });
      at += 2;
    } else {
      pieces.push({ one: literal(character) });
      at += 1;
    }
  }
  return pieces;
}

/** Many stars cost a regular expression the square of a name's length. */
const FEW_STARS = 2;

function matcherOf(pieces: readonly Piece[], ignoreCase: boolean): (text: RawName) => boolean {
  const stars = pieces.filter((piece) => typeof piece === 'string').length;
  let steps: Steps | null = null;
  if (ignoreCase || stars > FEW_STARS)
    return (text) => (steps ??= new Steps(pieces, ignoreCase)).isMatch(text);
  const sources = { any: '[^/]*', all: '.*', directories: '(?:.*/)?' };
  const source = pieces.map((piece) => (typeof piece === 'string' ? sources[piece] : piece.one)).join('');
  const expression = new RegExp(`^${source}$`, 's');
  return (text) => expression.test(text);
}

/** Which of the 256 characters a place lets pass, and whether it is stayed at then. */
interface Step {
  readonly passes: Uint8Array;
  readonly stays: Uint8Array;
  /** Further on by this many places without any character. */
  readonly skips: readonly number[];
}

const ANY = Uint8Array.from({ length: 256 }, () => 1);
const NONE = new Uint8Array(256);
const SLASH = Uint8Array.from({ length: 256 }, (_, code) => Number(code === 0x2f));
const NO_SLASH = SLASH.map((is) => 1 - is);

/** A name is gone through once: as many looks as it has characters, times the places of the pattern, at most. */
class Steps {
  readonly #steps: readonly Step[];

  constructor(pieces: readonly Piece[], ignoreCase: boolean) {
    this.#steps = pieces.flatMap((piece): Step[] => {
      if (piece === 'any') return [{ passes: NONE, stays: NO_SLASH, skips: [1] }];
      if (piece === 'all') return [{ passes: NONE, stays: ANY, skips: [1] }];
      // Past it, or in some directories, which are left at a slash only.
      if (piece === 'directories')
        return [
          { passes: NONE, stays: NONE, skips: [1, 2] },
          { passes: SLASH, stays: ANY, skips: [] },
        ];
      return [{ passes: charactersOf(piece.one, ignoreCase), stays: NONE, skips: [] }];
    });
  }

  isMatch(text: RawName): boolean {
    const end = this.#steps.length;
    let places = this.#skipped(new Set([0]));
    for (let at = 0; at < text.length && places.size > 0; at += 1) {
      const code = text.charCodeAt(at);
      const next = new Set<number>();
      for (const place of places) {
        const step = this.#steps[place];
        if (step?.stays[code]) next.add(place);
        if (step?.passes[code]) next.add(place + 1);
      }
      places = this.#skipped(next);
    }
    return places.has(end);
  }

  /** With all places that are reached from these without a character; a set is gone through to what is added on the way. */
  #skipped(places: Set<number>): Set<number> {
    for (const place of places) for (const by of this.#steps[place]?.skips ?? []) places.add(place + by);
    return places;
  }
}

/** Upper and lower case are the same for ASCII alone, as in git. */
function charactersOf(source: string, ignoreCase: boolean): Uint8Array {
  const exact = new RegExp(`^${source}$`, 's');
  const folded = new RegExp(`^${source}$`, 'is');
  return Uint8Array.from({ length: 256 }, (_, code) =>
    Number((ignoreCase && code < 0x80 ? folded : exact).test(String.fromCharCode(code))),
  );
}

/** A set in brackets, from behind the first. It never matches a slash. */
function readSet(pattern: string, from: number): { readonly source: string; readonly end: number } | null {
  let at = from;
  const isNegated = pattern[at] === '!' || pattern[at] === '^';
  if (isNegated) at += 1;
  let inside = '';
  let previous: string | null = null;
  for (let isFirst = true; ; isFirst = false) {
    let character = pattern[at];
    if (character === undefined) return null;
    if (character === ']' && !isFirst) break;
    if (character === '\\') {
      at += 1;
      character = pattern[at];
      if (character === undefined) return null;
      inside += literal(character);
      previous = character;
    } else if (
      character === '-' &&
      previous !== null &&
      pattern[at + 1] !== undefined &&
      pattern[at + 1] !== ']'
    ) {
      at += 1;
      if (pattern[at] === '\\') at += 1;
      const last = pattern[at];
      if (last === undefined) return null;
      if (previous <= last) inside += `${literal(previous)}-${literal(last)}`;
      previous = null;
    } else if (character === '[' && pattern[at + 1] === ':') {
      const close = pattern.indexOf(']', at + 2);
      if (close < 0) return null;
      if (pattern[close - 1] === ':' && close - 1 >= at + 2) {
        const named = CLASSES[pattern.slice(at + 2, close - 1)];
        if (named === undefined) return null;
        inside += named;
        at = close;
        previous = null;
      } else {
        // No class after all: an ordinary bracket.
        inside += literal('[');
        previous = '[';
      }
    } else {
      inside += literal(character);
      previous = character;
    }
    at += 1;
  }
  const source = isNegated ? `[^/${inside}]` : inside === '' ? '(?!)' : `(?!/)[${inside}]`;
  return { source, end: at + 1 };
}
