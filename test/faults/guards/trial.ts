/** Runs one test in a copy of the tree, as it is or without a guard. */
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Guard } from './guard.ts';
import { findMarkers, replaceMarked } from './markers.ts';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
const PARTS = ['api', 'bin', 'processors', 'queues', 'src', 'test', 'package.json', 'tsconfig.json'];
const DEADLINE_MS = 300_000;

export interface Verdict {
  readonly passed: boolean;
  readonly output: string;
}

/** A copy of what the tests run, in a directory of its own. */
export async function copyTree(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'fp-'));
  for (const part of PARTS) {
    const options = {
      recursive: true,
      filter: (from: string) => !relative(ROOT, from).includes('node_modules'),
    };
    await cp(join(ROOT, part), join(path, part), options);
  }
  await symlink(join(ROOT, 'node_modules'), join(path, 'node_modules'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Takes the guard out of a copy while `work` runs. */
export async function without<T>(guard: Guard, tree: string, work: () => Promise<T>): Promise<T> {
  const [place, ...others] = (await findMarkers(tree)).get(guard.marker) ?? [];
  if (place === undefined || others.length > 0) throw new Error(`${guard.marker} is not marked once`);
  const file = join(tree, place);
  const source = await readFile(file, 'utf8');
  await writeFile(file, replaceMarked(source, guard.marker, guard.without));
  try {
    return await work();
  } finally {
    await writeFile(file, source);
  }
}

/** Runs the guard's test. Passing means that exactly the tests of that title ran, and one at least. */
export function runTest({ spec, test }: Guard, tree: string): Promise<Verdict> {
  const mocha = join(tree, 'node_modules', 'mocha', 'bin', 'mocha.js');
  const args = [
    mocha,
    '--no-config',
    '--exit',
    '--timeout',
    '90000',
    '--reporter',
    'json',
    '--fgrep',
    test,
    spec,
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: tree, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const timer = setTimeout(() => child.kill('SIGTERM'), DEADLINE_MS);
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      resolve({ passed: code === 0 && /"passes": [1-9]/.test(stdout), output: `${stderr}\n${stdout}` });
    });
  });
}
