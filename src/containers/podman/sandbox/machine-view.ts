/**
 * How large the machine is, as a job's programs read it from /proc and /sys: as large as the job. The kernel shows the
 * host's there, and only some programs ask the cgroup or `sched_getaffinity` instead: `free`, Python's `os.cpu_count`
 * and Node's `os.cpus` do not. They are files of the sandbox, mounted over the kernel's; what changes in them is
 * written anew while the job runs.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Memory } from '../cgroups/cgroups.ts';
import type { Bind } from './mounts.ts';

export interface MachineSize {
  /** Null on a host that can't limit it: then the host's stays. */
  readonly memoryBytes: number | null;
  /** None on a host that can't choose them. */
  readonly cores: readonly number[];
}

interface Shown extends MachineSize {
  /** Null before the job runs. */
  readonly memory: Memory | null;
}

interface MachineFile {
  readonly name: string;
  /** Those of the kernel over which it is mounted. */
  readonly targets: readonly string[];
  /** Whether it is another one a second later. */
  readonly changes: boolean;
  /** @returns null where the kernel's own is to stay */
  readonly text: (shown: Shown) => string | null;
}

const CPU = '/sys/devices/system/cpu';
const FILES: readonly MachineFile[] = [
  { name: 'meminfo', targets: ['/proc/meminfo'], changes: true, text: meminfo },
  {
    name: 'stat',
    targets: ['/proc/stat'],
    changes: true,
    text: ({ cores }) => statOf(cores, hostStat()),
  },
  {
    name: 'cpuinfo',
    targets: ['/proc/cpuinfo'],
    changes: false,
    text: ({ cores }) => cpuinfoOf(cores, readFileSync('/proc/cpuinfo', 'utf8')),
  },
  {
    name: 'cpus',
    targets: ['online', 'present', 'possible'].map((name) => `${CPU}/${name}`),
    changes: false,
    text: ({ cores }) => (cores.length === 0 ? null : `${cores.join(',')}\n`),
  },
];

const EVERY_MS = 1_000;

let statRead = { atMs: -Infinity, text: '' };

/** The kernel's `/proc/stat`, long on a large machine, read once for the views of all jobs. */
function hostStat(): string {
  const atMs = performance.now();
  if (atMs - statRead.atMs > EVERY_MS / 2) statRead = { atMs, text: readFileSync('/proc/stat', 'utf8') };
  return statRead.text;
}

/** Writes the files for a job, before its container is made. Idempotent. @returns what Podman is told of them */
export function prepareMachineView(directory: string, size: MachineSize): Bind[] {
  mkdirSync(directory, { recursive: true });
  return FILES.flatMap(({ name, targets, text }) => {
    const content = text({ ...size, memory: null });
    if (content === null) return [];
    const source = join(directory, name);
    writeFileSync(source, content);
    chmodSync(source, 0o644); // any user of the image reads it, also under a strict umask
    return (
      targets
        // A kernel without one of them has no place to mount it over.
        .filter((target) => existsSync(target))
        .map((target) => ({ source, target, writable: false, shared: false }))
    );
  });
}

/**
 * Keeps them true while the job runs.
 * @param memory of the job; null when that can't be known now
 * @returns ends it
 */
export function keepMachineView(
  directory: string,
  size: MachineSize,
  memory: () => Memory | null,
): () => void {
  const changing = FILES.filter(({ name, changes }) => changes && existsSync(join(directory, name)));
  if (changing.length === 0) return () => undefined;
  const refresh = (): void => {
    try {
      const shown = { ...size, memory: memory() };
      for (const { name, text } of changing) {
        const content = text(shown);
        if (content !== null) overwrite(join(directory, name), content);
      }
    } catch {
      // The sandbox is gone, or the disk is full: what it shows is a second old, and it is tried again.
    }
  };
  const timer = setInterval(refresh, EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** In place and at once: it is this file that is mounted, and somebody may be reading it. */
function overwrite(path: string, content: string): void {
  const file = openSync(path, 'r+');
  try {
    // No shorter than what was there, of which an end would be left.
    writeSync(file, content.padEnd(fstatSync(file).size, '\n'), 0);
  } finally {
    closeSync(file);
  }
}

/** @returns null without a limit */
function meminfo({ memoryBytes, memory }: Shown): string | null {
  if (memoryBytes === null) return null;
  const total = Math.min(memoryBytes, totalmem());
  const { usedBytes, cacheBytes, shmemBytes } = memory ?? { usedBytes: 0, cacheBytes: 0, shmemBytes: 0 };
  const free = Math.max(0, total - usedBytes);
  const cache = Math.max(0, cacheBytes - shmemBytes);
  const lines: [string, number][] = [
    ['MemTotal', total],
    ['MemFree', free],
    ['MemAvailable', Math.min(total, free + cache)],
    ['Buffers', 0],
    ['Cached', cacheBytes],
    ['SwapCached', 0],
    ['SwapTotal', 0],
    ['SwapFree', 0],
    ['Shmem', shmemBytes],
    ['SReclaimable', 0],
  ];
  const line = ([name, bytes]: [string, number]): string =>
    `${`${name}:`.padEnd(15)}${String(Math.floor(bytes / 1024)).padStart(9)} kB\n`;
  return lines.map(line).join('');
}

/** @param text the kernel's `/proc/cpuinfo`, a paragraph a core. @returns null where it has another form */
export function cpuinfoOf(cores: readonly number[], text: string): string | null {
  const paragraphs = text.split('\n\n').filter((paragraph) => {
    const core = /^processor\s*:\s*(\d+)$/m.exec(paragraph)?.[1];
    return core !== undefined && cores.includes(Number(core));
  });
  return paragraphs.length === 0 || paragraphs.length !== cores.length
    ? null
    : `${paragraphs.join('\n\n')}\n\n`;
}

/** @param text the kernel's `/proc/stat`. @returns null without cores */
export function statOf(cores: readonly number[], text: string): string | null {
  if (cores.length === 0) return null;
  const lines = text.trimEnd().split('\n');
  const own = lines.flatMap((line) => {
    const [, core, times = ''] = /^cpu(\d+) (.*)$/.exec(line) ?? [];
    return core !== undefined && cores.includes(Number(core)) ? [{ core, times }] : [];
  });
  const sums = own
    .map(({ times }) => times.split(' ').map(Number))
    .reduce((sum, times) => sum.map((value, at) => value + (times[at] ?? 0)), Array<number>(10).fill(0));
  const rest = lines
    .filter((line) => !line.startsWith('cpu'))
    // Behind its sum, a number for each source of interrupts.
    .map((line) => (/^(?:intr|softirq) /.test(line) ? line.split(' ').slice(0, 2).join(' ') : line));
  return [`cpu  ${sums.join(' ')}`, ...own.map(({ core, times }) => `cpu${core} ${times}`), ...rest, ''].join(
    '\n',
  );
}
