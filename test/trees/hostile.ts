import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Runs a bash script in a directory: names of any bytes, FIFOs and devices are easiest made there. */
export const make = async (directory: string, script: string): Promise<string> =>
  (await run('bash', ['-euc', script], { cwd: directory })).stdout;

/** Every path below, its type, mode, size and target: what a tree looks like, one line each, sorted. */
export const look = async (directory: string): Promise<string[]> => {
  const { stdout } = await run('find', ['.', '-mindepth', '1', '-printf', '%P|%y|%m|%s|%l\\0'], {
    cwd: directory,
    encoding: 'latin1',
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout
    .split('\0')
    .filter((line) => line !== '')
    .map((line) => (line.includes('|d|') ? line.replace(/\|\d+\|$/, '||') : line))
    .sort();
};
