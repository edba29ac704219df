/** Small records that processes leave for each other. */
import { readFileSync } from 'node:fs';
import { ifMissing } from './if-missing.ts';
import { writeWholeSync } from './write-whole.ts';

/** @returns null for a file that is not there, or that holds no JSON: cut by a crash, or somebody else's */
export function readJsonFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as unknown;
  } catch (error) {
    return error instanceof SyntaxError ? null : ifMissing(null)(error);
  }
}

export const writeJsonFile = (path: string, value: unknown): void =>
  writeWholeSync(path, `${JSON.stringify(value)}\n`);
