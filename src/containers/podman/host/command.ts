/** Programs of the host that we run for one thing: mount, losetup, mkfs and the like. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf } from '../../../errors.ts';

const run = promisify(execFile);

/** Runs a program to its end. @throws with what it said on stderr */
export async function command(file: string, ...args: string[]): Promise<string> {
  try {
    const { stdout } = await run(file, args, { timeout: 60_000, maxBuffer: 16 * 1024 * 1024 });
    return stdout;
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw new Error(`${file} failed: ${said || messageOf(error)}`, { cause: error });
  }
}
