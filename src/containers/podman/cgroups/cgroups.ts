/**
 * The parent cgroup of a sandbox: made by us, carries the job's limits, outlives the container. Podman puts the
 * container (`libpod-<id>`, the *leaf*) and its monitor (`conmon`) below it.
 */
import { closeSync, openSync, readFileSync, readdirSync, readSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../../../errors.ts';
import type { Limits } from '../../sandbox.ts';
import { coresOf } from './cores.ts';

/** What the parent may use beyond the job's own limits, for conmon. */
export const ALLOWANCE = { memoryBytes: 64 * 1024 * 1024, pids: 16, cpus: 0.2 } as const;
export const CPU_PERIOD_US = 100_000;

/** What the kernel counted for a job so far; null where it does not count or nothing is left to read. */
export interface Counters {
  readonly oomKills: number | null;
  readonly memoryPeakBytes: number | null;
  readonly cpuSeconds: number | null;
  readonly pidsPeak: number | null;
  /** How often a fork was refused for the limit on processes. */
  readonly pidsRefused: number | null;
  readonly bytesWritten: number | null;
}

export const NO_COUNTERS: Counters = {
  oomKills: null,
  memoryPeakBytes: null,
  cpuSeconds: null,
  pidsPeak: null,
  pidsRefused: null,
  bytesWritten: null,
};

/** What a job holds of its memory now. */
export interface Memory {
  readonly usedBytes: number;
  /** Of that, contents of files, and of /dev/shm. */
  readonly cacheBytes: number;
  /** Of the cache, what only a swap could take away. */
  readonly shmemBytes: number;
}

/** Answers again and again, cheaply, whether anything of one job runs. */
export interface AliveProbe {
  /** False once the leaf is empty or gone. */
  alive(): boolean;
  close(): void;
}

export interface Cgroup {
  /** What Podman is told as `cgroup_parent`: its path from the root of the hierarchy. */
  readonly path: string;
  /** Makes it, without limits. Idempotent. */
  make(): void;
  limit(limits: Limits): void;
  /** Every process of the job, conmon not among them. Empty when there is no leaf. */
  processes(): number[];
  /** Null when the job has no leaf (never started, or already cleaned away). */
  aliveProbe(): AliveProbe | null;
  counters(): Counters;
  /** Null when it has no leaf, or the kernel does not say. */
  memory(): Memory | null;
  /** Cores on which the kernel lets the job run; null when it has no leaf, or the kernel does not say. */
  cores(): readonly number[] | null;
  /** SIGKILL to all at once, where the kernel can do that. @returns false where it can't */
  killAll(): boolean;
  /** Removes parent, leaf and conmon's; processes must be gone. @returns whether nothing is left */
  remove(): boolean;
}

export interface Cgroups {
  readonly version: 1 | 2;
  /** The one for a new sandbox, not made yet; null where Podman has to choose. */
  of(id: string): Cgroup | null;
  /** The one that an earlier process made there. */
  at(path: string): Cgroup;
  /** Those that are here, by the id of their sandbox. */
  found(): ReadonlyMap<string, Cgroup>;
  /** Removes what holds the sandboxes' cgroups, if none is left in there. */
  close(): void;
}

/** Without cgroups of our own (an unprivileged user on cgroup v1): Podman's API must do. */
export const noCgroups = (version: 1 | 2): Cgroups => ({
  version,
  of: () => null,
  at: (path) => ({
    path,
    make: () => undefined,
    limit: () => undefined,
    processes: () => [],
    aliveProbe: () => null,
    counters: () => NO_COUNTERS,
    memory: () => null,
    cores: () => null,
    killAll: () => false,
    remove: () => true,
  }),
  found: () => new Map(),
  close: () => undefined,
});

/** Cgroups come and go while we look. */
const GONE = new Set(['ENOENT', 'ENODEV', 'ENOTDIR']);
export const isGone = (error: unknown): boolean => GONE.has(systemCode(error) ?? '');

/** @returns undefined when the file or its cgroup is gone */
export function readControl(...path: string[]): string | undefined {
  try {
    return readFileSync(join(...path), 'utf8');
  } catch (error) {
    if (isGone(error) || systemCode(error) === 'EOPNOTSUPP') return undefined;
    throw error;
  }
}

/** Reads a control file that is kept open. @param isAlive by its text @returns null when it is gone */
export function probeOf(path: string, isAlive: (text: string) => boolean): AliveProbe | null {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
  const bytes = Buffer.alloc(256);
  return {
    alive: () => {
      try {
        return isAlive(bytes.toString('latin1', 0, readSync(file, bytes, 0, bytes.length, 0)));
      } catch (error) {
        if (isGone(error)) return false;
        throw error;
      }
    },
    close: () => closeSync(file),
  };
}

/** @param keys of the two in `memory.stat` */
export function readMemory(
  directory: string,
  file: string,
  { cache, shmem }: Readonly<Record<'cache' | 'shmem', string>>,
): Memory | null {
  const usedBytes = readNumber(directory, file);
  if (usedBytes === null) return null;
  const stat = readControl(directory, 'memory.stat') ?? '';
  const of = (key: string): number => Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
  return { usedBytes, cacheBytes: of(cache), shmemBytes: of(shmem) };
}

/** Of the first of these control files that names some; null when none does. */
export function readCores(...paths: readonly string[]): readonly number[] | null {
  for (const path of paths) {
    const cores = coresOf(readControl(path) ?? '');
    if (cores.length > 0) return cores;
  }
  return null;
}

/** The sum of what `pattern`, with the flag `g`, finds; null for a file that is gone. */
export function sumOf(text: string | undefined, pattern: RegExp): number | null {
  if (text === undefined) return null;
  let sum = 0;
  for (const [, value] of text.matchAll(pattern)) sum += Number(value);
  return sum;
}

/** @returns null for a file that is gone, or says `max` */
export function readNumber(...path: string[]): number | null {
  const text = readControl(...path)?.trim();
  return text && /^\d+$/.test(text) ? Number(text) : null;
}

/** The value behind `key` in a file of `key value` lines. */
export function readKeyed(key: string, ...path: string[]): number | null {
  const match = new RegExp(`^${key} (\\d+)$`, 'm').exec(readControl(...path) ?? '');
  return match?.[1] ? Number(match[1]) : null;
}

export function subdirectories(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** The cgroup below `parent` that holds the container, if there is one. */
export const leafOf = (parent: string): string | undefined =>
  subdirectories(parent).find((entry) => entry !== 'conmon');

/** All process ids in a cgroup and everything below it. */
export function processesBelow(directory: string): number[] {
  const own = (readControl(directory, 'cgroup.procs') ?? '').split('\n').filter(Boolean).map(Number);
  return [...own, ...subdirectories(directory).flatMap((child) => processesBelow(join(directory, child)))];
}

/** Removes a cgroup if nothing is in it. */
export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!isGone(error) && !['EBUSY', 'ENOTEMPTY', 'EACCES', 'EPERM'].includes(systemCode(error) ?? ''))
      throw error;
  }
}

/** Removes a cgroup with all below it. @returns false when a process is still in there */
export function removeTree(directory: string): boolean {
  for (const child of subdirectories(directory)) removeTree(join(directory, child));
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    if (['EBUSY', 'ENOTEMPTY'].includes(systemCode(error) ?? '')) return false;
    throw error;
  }
}
