/**
 * Fails the run when a test left anything: processes, mounts, containers, directories, files in the checkout, or what
 * keeps this process open. All that is left is named, ended and counted, {@link PATIENCE_MS} after the last
 * test at the latest.
 */
import { execFile } from 'node:child_process';
import { appendFileSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { SEED } from './seed.ts';

/** Every test's directory begins so, see `temporaryDirectory`. */
const MARK = join(tmpdir(), 'fp-');
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** The counts of a whole run go there; see scripts/counting-reporter.cjs. */
const COUNTS = process.env['FLASHPODS_TEST_COUNTS'];
const PATIENCE_MS = Number(process.env['FLASHPODS_TEST_PATIENCE_MS'] ?? 30_000);
/** A process that was told to end may take a moment to be gone. */
const MOMENT_MS = PATIENCE_MS / 3;
const LOOK_MS = 100;

const run = promisify(execFile);

interface Leftover {
  readonly name: string;
  /** Takes it away. */
  readonly end: () => unknown;
}

let before = new Set<string>();

export async function mochaGlobalSetup(): Promise<void> {
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: SEED });
  process.stdout.write(`seed ${SEED}; FLASHPODS_TEST_SEED=N or =random for another\n`);
  before = new Set((await left()).map(({ name }) => name));
}

export async function mochaGlobalTeardown(): Promise<void> {
  const ended = performance.now();
  let leftovers: Leftover[];
  for (;;) {
    leftovers = (await left()).filter(({ name }) => !before.has(name));
    if (leftovers.length === 0 || performance.now() - ended > MOMENT_MS) break;
    await delay(LOOK_MS);
  }
  report(leftovers.map(({ name }) => name));
  for (const { end } of leftovers) {
    try {
      await end();
    } catch {
      // it is gone, or not ours to end: it is named in any case
    }
  }
  // Fires only while something else keeps the process open.
  setTimeout(
    () => {
      const open = process.getActiveResourcesInfo().map((kind) => `open handle: ${kind}`);
      report(open.length > 0 ? open : ['something that keeps the process open']);
      for (const { end } of descendants()) end();
      process.exit();
    },
    PATIENCE_MS - (performance.now() - ended),
  ).unref();
}

function report(names: readonly string[]): void {
  if (names.length === 0) return;
  process.stderr.write(`\nThe tests left something behind:\n${names.map((each) => `  ${each}\n`).join('')}`);
  if (COUNTS !== undefined)
    appendFileSync(COUNTS, names.map((each) => `0 1 left behind: ${each.replaceAll('\n', ' ')}\n`).join(''));
  // Mocha sets the exit status in a listener that it adds after this.
  setImmediate(() => process.once('exit', () => (process.exitCode = 1))).unref();
}

async function left(): Promise<Leftover[]> {
  return [
    ...(await containers()),
    ...descendants(),
    ...markedProcesses(),
    ...mounts(),
    ...directories(),
    ...(await files()),
  ];
}

const mounts = (): Leftover[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(MARK))
    .map((line) => line.split(' ')[4] ?? line)
    .reverse()
    .map((path) => ({ name: `mount ${path}`, end: () => run('umount', ['-l', path]) }));

const directories = (): Leftover[] =>
  readdirSync(tmpdir())
    .map((name) => join(tmpdir(), name))
    .filter((path) => path.startsWith(MARK))
    .map((path) => ({
      name: `directory ${path}`,
      end: () => rmSync(path, { recursive: true, force: true }),
    }));

const processIds = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

function processNamed(pid: number): Leftover {
  const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  return { name: `process ${pid}: ${command.slice(0, 120)}`, end: () => process.kill(pid, 'SIGKILL') };
}

/** Those that name a test's directory, also when the process that started them is gone. */
function markedProcesses(): Leftover[] {
  return processIds().flatMap((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      const found = processNamed(pid);
      const isOurs = found.name.includes(MARK) || environment.includes(`=${MARK}`);
      return pid !== process.pid && isOurs ? [found] : [];
    } catch {
      return []; // it ended while we looked, or is not ours to look at
    }
  });
}

/** Our children and theirs. */
function descendants(): Leftover[] {
  const parents = new Map<number, number>();
  for (const pid of processIds()) {
    try {
      const [state, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
      if (state !== 'Z') parents.set(pid, Number(parent));
    } catch {
      // it ended while we looked
    }
  }
  const isOurs = (pid: number): boolean => {
    const parent = parents.get(pid);
    return parent !== undefined && (parent === process.pid || isOurs(parent));
  };
  return [...parents.keys()].filter(isOurs).flatMap((pid) => {
    try {
      return [processNamed(pid)];
    } catch {
      return []; // it ended while we looked
    }
  });
}

/** Containers whose files lie in a test's directory; a user's own Flashpods on this machine is none of our business. */
async function containers(): Promise<Leftover[]> {
  const list = ['ps', '--all', '--quiet', '--filter', 'label=flashpods-job=true'];
  const ids = await linesOf('podman', list);
  if (ids.length === 0) return [];
  const format = '{{.Name}} {{.HostConfig.LogConfig.Path}}';
  const found = await linesOf('podman', ['inspect', '--format', format, ...ids]);
  return found
    .filter((line) => line.includes(MARK))
    .map((line) => ({
      name: `container ${line}`,
      end: () => run('podman', ['rm', '--force', '--time', '0', line.split(' ')[0] ?? '']),
    }));
}

/** Only where the whole suite runs: by hand, people work on in the checkout meanwhile. */
async function files(): Promise<Leftover[]> {
  if (COUNTS === undefined) return [];
  const changed = await linesOf('git', ['-C', ROOT, 'status', '--porcelain']);
  return changed.map((line) => ({ name: `file ${line}`, end: () => undefined }));
}

/** @returns no line where the program fails or is not installed */
const linesOf = (program: string, args: string[]): Promise<string[]> =>
  run(program, args).then(
    ({ stdout }) => stdout.split('\n').filter(Boolean),
    () => [],
  );
