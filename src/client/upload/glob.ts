/**
 * Patterns of gitignore(5), matched as git's wildmatch.c does, byte by byte: names are one character a byte. A pattern
 * becomes a regular expression once. `test/client/glob.test.ts` compares it with git itself.
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
  readonly expression: RegExp;
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
  const source = toExpression(text.startsWith('/') ? text.slice(1) : text);
  const expression = new RegExp(source ?? '(?!)', options.ignoreCase ? 'is' : 's');
  return {
    text: Buffer.from(line, 'latin1').toString(),
    isNegated,
    onlyDirectories,
    isName,
    expression,
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
  if (!pattern.expression.test(text)) return false;
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

/** @returns null for a pattern that matches nothing */
function toExpression(pattern: string): string | null {
  let source = '^';
  for (let at = 0; at < pattern.length;) {
    const character = pattern[at] ?? '';
    if (character === '*') {
      let end = at;
      while (pattern[end] === '*') end += 1;
      const isBounded =
        end - at > 1 &&
        (at === 0 || pattern[at - 1] === '/') &&
        (end === pattern.length || pattern[end] === '/' || pattern.startsWith('\\/', end));
      if (!isBounded) source += '[^/]*';
      else if (pattern[end] === '/') {
        // No directory at all, or some.
        source += '(?:.*/)?';
        end += 1;
      } else source += '.*';
      at = end;
    } else if (character === '?') {
      source += '[^/]';
      at += 1;
    } else if (character === '[') {
      const set = readSet(pattern, at + 1);
      if (set === null) return null;
      source += set.source;
      at = set.end;
    } else if (character === '\\') {
      const next = pattern[at + 1];
      if (next === undefined) return null;
      source += literal(next);
      at += 2;
    } else {
      source += literal(character);
      at += 1;
    }
  }
  return `${source}$`;
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
