/**
 * Globs for names of artifacts and files of a job: `*`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, `\` before a sign that is meant
 * as it is, and `**` for any number of directories. Hidden files match like others. A pattern that matches a directory
 * matches all that is in it.
 *
 * Our own, since patterns and names are both a stranger's: the libraries make regular expressions of patterns, and some
 * of those take for ever on some names. Here a segment takes at most its length times the pattern's. And a walk has to
 * know which directories it need not enter.
 */

const MAX_PATTERN_BYTES = 1_000;
const MAX_ALTERNATIVES = 100;
/** Of several patterns together. */
const MAX_ALL_ALTERNATIVES = 200;

type Token =
  | { readonly kind: 'one' | 'star' }
  | { readonly kind: 'sign'; readonly sign: string }
  | {
      readonly kind: 'class';
      readonly not: boolean;
      readonly ranges: readonly (readonly [string, string])[];
    };
/** Null is `**`. */
type Segment = readonly Token[] | null;

/** How far a path has got in each pattern; what {@link Globs.step} takes and gives. */
export interface Progress {
  /** The path is matched, and so is all below it. */
  readonly matched: boolean;
  /** Nothing below it can match. */
  readonly dead: boolean;
  /** For each alternative, the places that it may be at. */
  readonly places: readonly (readonly number[])[];
}

/** Why this can be no pattern, for people, or null. */
export function globProblem(pattern: string): string | null {
  if (Buffer.byteLength(pattern) > MAX_PATTERN_BYTES) return `must be at most ${MAX_PATTERN_BYTES} bytes`;
  if (!pattern.isWellFormed() || pattern.includes('\0')) return 'must be valid Unicode without NUL';
  if (pattern.startsWith('!')) return 'must not begin with ! (write \\! for a name that does)';
  const alternatives = expand(pattern);
  if (alternatives === null) return `must have at most ${MAX_ALTERNATIVES} alternatives in braces`;
  for (const alternative of alternatives) {
    if (alternative.startsWith('/')) return 'must be a relative path, such as build/app';
    const segments = segmentsOf(alternative);
    if (segments.includes('..')) return 'must not have a segment ..';
    if (segments.length === 0) return 'must name something, such as build/app or **/*.xml';
  }
  return null;
}

/** The same of several patterns, with the one that it is about. */
export function globsProblem(patterns: readonly string[]): string | null {
  let alternatives = 0;
  for (const pattern of patterns) {
    const problem = globProblem(pattern);
    if (problem !== null) return `the pattern ${JSON.stringify(pattern.slice(0, 200))} ${problem}`;
    alternatives += expand(pattern)?.length ?? 0;
  }
  if (alternatives <= MAX_ALL_ALTERNATIVES) return null;
  return `the patterns must have at most ${MAX_ALL_ALTERNATIVES} alternatives together, those in braces counted`;
}

/** The pattern that matches this name, and what lies in it. */
export const globOf = (name: string): string => name.replace(/[\\*?[\]{},!]/g, '\\$&');

/** Several patterns, of which one has to match. */
export class Globs {
  readonly patterns: readonly string[];
  readonly #alternatives: readonly { readonly pattern: number; readonly segments: readonly Segment[] }[];
  #spent = 0;

  /** @throws Error for what {@link globsProblem} has something against */
  constructor(patterns: readonly string[]) {
    const problem = globsProblem(patterns);
    if (problem !== null) throw new Error(problem);
    this.patterns = patterns;
    this.#alternatives = patterns.flatMap((text, pattern) =>
      (expand(text) ?? []).map((alternative) => ({ pattern, segments: compile(alternative) })),
    );
  }

  /** Comparisons so far, of which a hundred million take about a second: for a walk of a stranger's tree. */
  get spent(): number {
    return this.#spent;
  }

  /** At the root: the only directory that is never matched. */
  get start(): Progress {
    return this.#progress(this.#alternatives.map(({ segments }) => entered(segments, [0])));
  }

  /** One segment further. @param seen gets the indexes of patterns that match here */
  step({ matched, places }: Progress, segment: string, seen?: Set<number>): Progress {
    const signs = Array.from(segment);
    const next = this.#alternatives.map(({ pattern, segments }, index) => {
      const reached = new Set<number>();
      for (const place of places[index] ?? []) {
        const wanted = segments[place];
        this.#spent++;
        if (place === segments.length) reached.add(place);
        else if (wanted === null) reached.add(place);
        else if (wanted !== undefined && this.#matches(wanted, signs)) reached.add(place + 1);
      }
      const all = entered(segments, [...reached]);
      if (all.includes(segments.length)) seen?.add(pattern);
      return all;
    });
    const progress = this.#progress(next);
    return matched ? { ...progress, matched } : progress;
  }

  /** Whether a path, or a directory that it lies in, matches. */
  matches(path: string, seen?: Set<number>): boolean {
    let progress = this.start;
    for (const segment of path.split('/')) progress = this.step(progress, segment, seen);
    return progress.matched;
  }

  /** Goes back to the last `*` only: more never helps. */
  #matches(tokens: readonly Token[], signs: readonly string[]): boolean {
    let token = 0;
    let at = 0;
    let star = -1;
    let from = 0;
    while (at < signs.length) {
      this.#spent++;
      const wanted = tokens[token];
      if (wanted?.kind === 'star') {
        star = token++;
        from = at;
      } else if (wanted !== undefined && matchesSign(wanted, signs[at] ?? '')) {
        token++;
        at++;
      } else if (star >= 0) {
        token = star + 1;
        at = ++from;
      } else return false;
    }
    while (tokens[token]?.kind === 'star') token++;
    return token === tokens.length;
  }

  #progress(places: readonly (readonly number[])[]): Progress {
    const matched = places.some((some, index) =>
      some.includes(this.#alternatives[index]?.segments.length ?? -1),
    );
    return { places, matched, dead: places.every((some) => some.length === 0) };
  }
}

/** `**` may also be no directory at all. */
function entered(segments: readonly Segment[], places: readonly number[]): number[] {
  const all = new Set<number>();
  for (let place of places) {
    all.add(place);
    while (segments[place] === null) all.add(++place);
  }
  return [...all];
}

/** An empty segment and `.` lead nowhere. */
const segmentsOf = (text: string): string[] =>
  text.split('/').filter((segment) => segment !== '' && segment !== '.');

function compile(alternative: string): Segment[] {
  const segments = segmentsOf(alternative);
  // At the end it stands for what is in a directory, and not for the directory.
  while (segments.at(-1) === '**' && segments.at(-2) === '**') segments.pop();
  if (segments.at(-1) === '**' || alternative.endsWith('/')) {
    if (segments.at(-1) === '**') segments.pop();
    segments.push('*');
  }
  return segments.map((segment) => (segment === '**' ? null : tokensOf(segment)));
}

function tokensOf(segment: string): Token[] {
  const signs = Array.from(segment);
  const tokens: Token[] = [];
  for (let at = 0; at < signs.length; at++) {
    const sign = signs[at] ?? '';
    const parsed = sign === '[' ? classAt(signs, at) : null;
    if (parsed) {
      tokens.push(parsed.token);
      at = parsed.end;
    } else if (sign === '*') {
      if (tokens.at(-1)?.kind !== 'star') tokens.push({ kind: 'star' });
    } else if (sign === '?') tokens.push({ kind: 'one' });
    else if (sign === '\\' && at + 1 < signs.length) tokens.push({ kind: 'sign', sign: signs[++at] ?? '' });
    else tokens.push({ kind: 'sign', sign });
  }
  return tokens;
}

/** The class that begins at a `[`. @returns null when none does: then it is a sign like others */
function classAt(
  signs: readonly string[],
  from: number,
): { readonly token: Token; readonly end: number } | null {
  let at = from + 1;
  const not = signs[at] === '!' || signs[at] === '^';
  if (not) at++;
  const ranges: [string, string][] = [];
  for (let first = true; ; first = false) {
    let low = signs[at++];
    if (low === undefined) return null;
    if (low === ']' && !first) return { token: { kind: 'class', not, ranges }, end: at - 1 };
    if (low === '\\') low = signs[at++];
    if (low === undefined) return null;
    let high: string | undefined = low;
    if (signs[at] === '-' && signs[at + 1] !== undefined && signs[at + 1] !== ']') {
      high = signs[at + 1];
      at += 2;
      if (high === '\\') high = signs[at++];
      if (high === undefined) return null;
    }
    ranges.push([low, high]);
  }
}

function matchesSign(token: Token, sign: string): boolean {
  switch (token.kind) {
    case 'one':
    case 'star':
      return true;
    case 'sign':
      return token.sign === sign;
    case 'class': {
      const point = sign.codePointAt(0) ?? 0;
      const isIn = token.ranges.some(
        ([low, high]) => point >= (low.codePointAt(0) ?? 0) && point <= (high.codePointAt(0) ?? 0),
      );
      return isIn !== token.not;
    }
  }
}

/** The alternatives of all braces, in their order; null when they are too many. Braces without a comma are signs. */
function expand(pattern: string): string[] | null {
  const done: string[] = [];
  const open = [pattern];
  while (open.length > 0) {
    if (done.length + open.length > MAX_ALTERNATIVES) return null;
    const text = open.shift() ?? '';
    const braces = firstBraces(text);
    if (braces === null) done.push(text);
    else {
      const { start, end, parts } = braces;
      open.unshift(...parts.map((part) => text.slice(0, start) + part + text.slice(end + 1)));
    }
  }
  return done;
}

function firstBraces(
  text: string,
): { readonly start: number; readonly end: number; readonly parts: readonly string[] } | null {
  for (let start = 0; start < text.length; start++) {
    if (text[start] === '\\') start++;
    else if (text[start] === '{') {
      const found = bracesAt(text, start);
      if (found !== null) return { start, ...found };
    }
  }
  return null;
}

function bracesAt(
  text: string,
  start: number,
): { readonly end: number; readonly parts: readonly string[] } | null {
  const parts: string[] = [];
  let depth = 0;
  let from = start + 1;
  for (let at = start + 1; at < text.length; at++) {
    const sign = text[at];
    if (sign === '\\') at++;
    else if (sign === '{') depth++;
    else if (sign === ',' && depth === 0) {
      parts.push(text.slice(from, at));
      from = at + 1;
    } else if (sign === '}' && depth-- === 0) {
      parts.push(text.slice(from, at));
      return parts.length > 1 ? { end: at, parts } : null;
    }
  }
  return null;
}
