/**
 * Names of Debian packages, as a job may ask for them: `libreadline-dev`, or `nodejs=18.19.0+dfsg-6` for one version.
 * Source: Debian Policy 5.6.7 (names) and 5.6.12 (versions).
 */

/** No name is an option or a path, and no version ends with a sign that apt would read as one of its own. */
export const PACKAGE_PATTERN = String.raw`^[a-z0-9][a-z0-9+.-]{1,99}(?:=(?:\d{1,9}:)?\d(?:[A-Za-z0-9.+~-]{0,98}[A-Za-z0-9])?)?$`;
export const MAX_PACKAGES = 100;

const PACKAGE = new RegExp(PACKAGE_PATTERN);

export const isPackage = (text: string): boolean => PACKAGE.test(text);

/** `nodejs=18.19.0` → `nodejs` */
export const nameOf = (wanted: string): string => wanted.split('=', 1)[0] ?? wanted;

/** Each once, in one order: who asks for the same gets the same. */
export const inOrder = (packages: readonly string[]): string[] => [...new Set(packages)].sort();
