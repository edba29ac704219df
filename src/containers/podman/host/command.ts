/** Programs of the host that we run for one thing: mount, losetup, mkfs and the like. */
import { execFile, type ExecFileOptions } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf } from '../../../errors.ts';

const run = promisify(execFile);

/** Runs a program to its end. @throws with what it said on stderr */
export const command = (file: string, ...args: string[]): Promise<string> =>
  runTo(file, args, { timeout: 60_000 });

/** The same for one that may take long. @throws also when the signal is aborted, and ends it then */
export const longCommand = (signal: AbortSignal, file: string, ...args: string[]): Promise<string> =>
  runTo(file, args, { signal });

async function runTo(file: string, args: string[], options: ExecFileOptions): Promise<string> {
  try {
    const { stdout } = await run(file, args, { ...options, encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 });
    return stdout;
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw new Error(`${file} failed: ${said || messageOf(error)}`, { cause: error });
  }
}
