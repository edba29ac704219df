/** Programs that are installed, or not; also where only root's PATH leads. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

const EVERYWHERE = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin";';
const NOT_FOUND = 127;

/** @returns what it prints, or null when it is not installed */
export async function printed(program: string, ...args: string[]): Promise<string | null> {
  try {
    const { stdout } = await run('/bin/sh', ['-c', `${EVERYWHERE} exec "$@"`, 'sh', program, ...args], {
      timeout: 10_000,
    });
    return stdout.trim();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === NOT_FOUND) return null;
    throw error;
  }
}

/** @returns those that are not installed */
export async function missingPrograms(...programs: string[]): Promise<string[]> {
  const script = `${EVERYWHERE} for each; do command -v "$each" > /dev/null || echo "$each"; done`;
  const { stdout } = await run('/bin/sh', ['-c', script, 'sh', ...programs], { timeout: 10_000 });
  return stdout.split('\n').filter(Boolean);
}
