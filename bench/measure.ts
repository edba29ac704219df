/** What the benches make of the numbers that they have measured. */

/** @param share between 0 and 1; the value that this part of all is no larger than. @returns NaN for no values */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}
