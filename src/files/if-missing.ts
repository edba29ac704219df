import { systemCode } from '../errors.ts';

/**
 * For `catch`: takes what is not there as `instead`, and passes every other error on.
 * @param also codes that mean the same here, such as ENOTDIR
 */
export const ifMissing =
  <T>(instead: T, ...also: readonly string[]) =>
  (error: unknown): T => {
    const code = systemCode(error);
    if (code === 'ENOENT' || (code !== undefined && also.includes(code))) return instead;
    throw error;
  };

/** The same for work that is not asynchronous: what it returns, or `instead`. */
export function ifThere<T, U>(work: () => T, instead: U, ...also: readonly string[]): T | U {
  try {
    return work();
  } catch (error) {
    return ifMissing(instead, ...also)(error);
  }
}
