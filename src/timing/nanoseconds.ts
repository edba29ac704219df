/** Times of files to the nanosecond, which neither a number of JavaScript nor `Date` can hold. */

const NS = 1_000_000_000n;
/** The years 1 to 9999: what a time in ISO 8601 is written with four digits for. */
const EARLIEST = -62_135_596_800n * NS;
const LATEST = 253_402_300_800n * NS - 1n;

/** A whole number of nanoseconds as seconds, rounded down, and the nanoseconds of the last one. */
export function splitNs(ns: bigint): { readonly seconds: bigint; readonly rest: bigint } {
  const rest = ((ns % NS) + NS) % NS;
  return { seconds: (ns - rest) / NS, rest };
}

/** `2026-01-02T03:04:05.123456789Z`. @param ns since the Unix epoch; beyond the years 1 to 9999 it is the nearest there */
export function isoNs(ns: bigint): string {
  const { seconds, rest } = splitNs(ns < EARLIEST ? EARLIEST : ns > LATEST ? LATEST : ns);
  const whole = new Date(Number(seconds) * 1_000).toISOString().slice(0, -'.000Z'.length);
  return `${whole}.${rest.toString().padStart(9, '0')}Z`;
}

/** The reverse of {@link isoNs}, which also takes fewer digits. @returns null for anything else */
export function parseIsoNs(text: string): bigint | null {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(text);
  const ms = Date.parse(`${parts?.[1] ?? ''}Z`);
  if (!parts || Number.isNaN(ms)) return null;
  return BigInt(ms / 1_000) * NS + BigInt((parts[2] ?? '').padEnd(9, '0'));
}
