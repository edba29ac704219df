/** Fails the run when a test left anything on the machine: processes, mounts, containers or directories of its own. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Every test's directory begins so, see `temporaryDirectory`. */
const MARK = join(tmpdir(), 'fp-');

let before = new Set<string>();

export async function mochaGlobalSetup(): Promise<void> {
  before = new Set([...leftOnTheMachine(), ...(await containers())]);
}

export async function mochaGlobalTeardown(): Promise<void> {
  const deadline = performance.now() + 10_000;
  let left: string[];
  // A process that was told to end may take a moment to be gone.
  do {
    left = [...leftOnTheMachine(), ...(await containers())].filter((each) => !before.has(each));
    if (left.length === 0) return;
    await promisify(setImmediate)();
  } while (performance.now() < deadline);
  process.stderr.write(`\nThe tests left something behind:\n${left.map((each) => `  ${each}\n`).join('')}`);
  process.exitCode = 1;
}

function leftOnTheMachine(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(MARK))
    .map((line) => `mount ${line.split(' ')[4] ?? line}`);
  const directories = readdirSync(tmpdir())
    .filter((name) => join(tmpdir(), name).startsWith(MARK))
    .map((name) => `directory ${join(tmpdir(), name)}`);
  const processes: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      if (Number(pid) !== process.pid && (command.includes(MARK) || environment.includes(`=${MARK}`))) {
        processes.push(`process ${pid}: ${command.slice(0, 120)}`);
      }
    } catch {
      // it ended while we looked, or is not ours to look at
    }
  }
  return [...mounts, ...directories, ...processes];
}

/** Containers whose files lie in a test's directory; a user's own Flashpods on this machine is none of our business. */
async function containers(): Promise<string[]> {
  const run = promisify(execFile);
  const ids = (
    await run('podman', ['ps', '--all', '--quiet', '--filter', 'label=flashpods-job=true']).catch(() => null)
  )?.stdout
    .split('\n')
    .filter((id) => id !== '');
  if (!ids || ids.length === 0) return [];
  const format = '{{.Name}} {{.HostConfig.LogConfig.Path}}';
  const { stdout } = await run('podman', ['inspect', '--format', format, ...ids]).catch(() => ({
    stdout: '',
  }));
  return stdout
    .split('\n')
    .filter((line) => line.includes(MARK))
    .map((line) => `container ${line}`);
}
