/** Reads the values of options. Each throws commander's own error, which names the option and ends with status 2. */
import { InvalidArgumentError } from 'commander';
import type { GivenCache } from '../caches/cache.ts';
import { readCache } from '../caches/known.ts';

export const integerFrom =
  (min: number, max = Number.MAX_SAFE_INTEGER) =>
  (value: string): number => {
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= min && number <= max) return number;
    throw new InvalidArgumentError(
      `It must be a whole number from ${min}${max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`}.`,
    );
  };

/** A whole number from 0, or `none` → Infinity; commander takes null for no value */
export function limit(value: string): number {
  if (value === 'none') return Infinity;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('It must be a whole number from 0, or none.');
}

/** A number above 0 */
export function positive(value: string): number {
  if (/^\d+(\.\d+)?$/.test(value) && Number(value) > 0) return Number(value);
  throw new InvalidArgumentError('It must be a number above 0.');
}

/** `4`, `4g`, `4GB` → 4 */
export function gigabytes(value: string): number {
  const match = /^(\d+)\s*(?:g|gb|gib)?$/i.exec(value);
  if (match?.[1] && Number(match[1]) >= 1) return Number(match[1]);
  throw new InvalidArgumentError('It must be whole gigabytes, such as 4 or 4g.');
}

/** `30`, `30m`, `2h` → minutes */
export function minutes(value: string): number {
  const match = /^(\d+)(m|h)?$/.exec(value);
  if (match?.[1] && Number(match[1]) >= 1) return Number(match[1]) * (match[2] === 'h' ? 60 : 1);
  throw new InvalidArgumentError('It must be whole minutes, such as 30, 30m or 2h.');
}

/** `12`, `12h`, `7d` → hours */
export function hours(value: string): number {
  const match = /^(\d+)(h|d)?$/.exec(value);
  if (match?.[1] && Number(match[1]) >= 1) return Number(match[1]) * (match[2] === 'd' ? 24 : 1);
  throw new InvalidArgumentError('It must be whole hours or days, such as 12, 12h or 7d.');
}

const SECONDS = { s: 1, m: 60, h: 3_600 } as const;

/** `90`, `90s`, `5m`, `1h` → seconds */
export function seconds(value: string): number {
  const match = /^(\d+(?:\.\d+)?)([smh])?$/.exec(value);
  if (match?.[1]) return Number(match[1]) * SECONDS[(match[2] ?? 's') as keyof typeof SECONDS];
  throw new InvalidArgumentError('It must be a time, such as 90, 90s, 5m or 1h.');
}

const SPANS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `30m`, `12h`, `90d` from now, or a date or time of ISO 8601 → milliseconds since the Unix epoch, in the future */
export function moment(value: string): number {
  const span = /^(\d+)([mhd])$/.exec(value);
  const at = span
    ? Date.now() + Number(span[1]) * SPANS[span[2] as keyof typeof SPANS]
    : /^\d{4}-\d\d-\d\d/.test(value)
      ? Date.parse(value)
      : Number.NaN;
  // Beyond this a Date can't be written in the form that the API takes.
  if (at > Date.now() && at < Date.parse('9999-12-31')) return at;
  throw new InvalidArgumentError('It must be a duration such as 90d, 12h or 30m, or a future date.');
}

/** A name or an id: anything that is not blank */
export function named(value: string): string {
  if (value.trim() !== '') return value;
  throw new InvalidArgumentError('It must not be empty.');
}

/** As {@link named}, of an argument that may be given several times. */
export const allNamed = (value: string, earlier: readonly string[] = []): string[] => [
  ...earlier,
  named(value),
];

/** Collects `KEY=VALUE` of an option that may be given several times. */
export function keyValue(
  value: string,
  earlier: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const at = value.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be KEY=VALUE.');
  return { ...earlier, [value.slice(0, at)]: value.slice(at + 1) };
}

/** `key=value` or `key:value` */
export function label(value: string): readonly [key: string, value: string] {
  const match = /^([^=:]+)[=:](.*)$/s.exec(value);
  if (match?.[1] !== undefined && match[2] !== undefined) return [match[1], match[2]];
  throw new InvalidArgumentError('It must be KEY=VALUE.');
}

/** Collects names that may come several times, or several in one with commas. */
export const listed = (value: string, earlier: readonly string[] = []): string[] => [
  ...earlier,
  ...value.split(',').filter((name) => name !== ''),
];

/** Collects an option that may be given several times. */
export const several = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value];

/** Collects caches, each as `NAME[:PATH][:MODE]`. */
export function cache(value: string, earlier: readonly GivenCache[] = []): GivenCache[] {
  const read = readCache(value);
  if (read === null)
    throw new InvalidArgumentError('It must be NAME, NAME:MODE, NAME:PATH or NAME:PATH:MODE.');
  return [...earlier, read];
}
