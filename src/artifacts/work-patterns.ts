/** The patterns of a job's field `artifacts`: what of its `/work` is kept. All of `/artifacts` is kept without a pattern. */
import { globProblem, globsProblem } from './globs.ts';

/** As the collector takes it: relative to `/work`. Null: it names what is in `/artifacts`. */
function relative(pattern: string): string | null {
  const [, top, rest = ''] = /^\/(work|artifacts)(?:\/(.*))?$/su.exec(pattern) ?? [];
  if (top === 'artifacts') return null;
  if (top === undefined) return pattern;
  return /^[/.]*$/.test(rest) ? '**' : rest.replace(/^\/+/, '');
}

/** Relative to `/work`, without those that name what is kept in any case. */
export const workPatterns = (given: readonly string[]): string[] =>
  given.flatMap((pattern) => relative(pattern) ?? []);

/** Why these can't be such patterns, for people, or null. */
export function workPatternsProblem(given: readonly string[]): string | null {
  for (const pattern of given) {
    const asked = relative(pattern);
    if (asked === null || globProblem(asked) === null) continue;
    const why = pattern.startsWith('/') && !pattern.startsWith('/work/') ? OUTSIDE : globProblem(asked);
    return `the pattern ${JSON.stringify(pattern.slice(0, 200))} ${why}`;
  }
  return globsProblem(workPatterns(given));
}

const OUTSIDE = 'must be relative to /work or begin with /work/: copy what lies elsewhere to /artifacts';
