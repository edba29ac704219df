/** How numbers are shown to a person. */

/** `0.3 s`, `12 s`, `4 min 05 s`, `2 h 10 min`, `3 d 4 h` */
export function showDuration(seconds: number): string {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 1_440) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${Math.floor(minutes / 1_440)} d ${Math.floor((minutes % 1_440) / 60)} h`;
}

/** A bound of a time ahead, rounded up: `now`, `within 40 s`, `within 4 min`, `within 2 h 10 min` */
export function showWithin(seconds: number): string {
  if (seconds < 1) return 'now';
  if (seconds < 60) return `within ${Math.ceil(seconds / 10) * 10} s`;
  if (seconds < 3_600) return `within ${Math.ceil(seconds / 60)} min`;
  return `within ${showDuration(Math.ceil(seconds / 60) * 60)}`;
}

/** `7s`, `4m`, `2h`, `3d` */
export function showAge(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** `312 B`, `4.2 kB`, `27.0 MB` */
export function showBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes / 1_000;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return `${value.toFixed(1)} ${units[unit] ?? ''}`;
}

export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`;
