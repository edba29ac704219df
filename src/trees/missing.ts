import { systemCode } from '../errors.ts';

/** For `catch`: takes what is not there as `instead`, and passes every other error on. */
export const ifMissing =
  <T>(instead: T) =>
  (error: unknown): T => {
    if (systemCode(error) === 'ENOENT') return instead;
    throw error;
  };
