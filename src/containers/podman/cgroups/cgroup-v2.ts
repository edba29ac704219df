/** Cgroup v2: one hierarchy, counters that include everything below, so the parent alone tells all. */
import { closeSync, mkdirSync, openSync, readSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemCode } from '../../../errors.ts';
import type { ProvisionRequest } from '../../runtime.ts';
import {
  ALLOWANCE,
  type AliveProbe,
  CPU_PERIOD_US,
  type Cgroups,
  type Counters,
  isGone,
  leafOf,
  processesBelow,
  readControl,
  readKeyed,
  readNumber,
  removeEmpty,
  removeTree,
  subdirectories,
} from './cgroups.ts';

export const CONTROLLERS = ['cpu', 'memory', 'pids', 'io'] as const;

export interface CgroupsV2Options {
  /** Where the hierarchy is mounted. */
  readonly mount: string;
  /**
   * Path of the cgroup for new sandboxes, from the root of the hierarchy, in one that was delegated to us.
   * Asked anew each time: a service that was restarted may have another.
   */
  readonly base: () => string;
  /** The parent that a sandbox was given when it was made, possibly below an earlier base. */
  readonly recorded: (name: string) => string | null;
  /** Every base that may hold sandboxes. */
  readonly bases: () => readonly string[];
}

export class CgroupsV2 implements Cgroups {
  readonly version = 2;
  readonly #options: CgroupsV2Options;

  constructor(options: CgroupsV2Options) {
    this.#options = options;
  }

  make(request: ProvisionRequest): void {
    const base = this.#options.base();
    delegateBelow(this.#options.mount, base);
    const directory = this.#directory(request.name);
    mkdirSync(directory, { recursive: true });
    const write = (file: string, value: string): void => writeExisting(join(directory, file), value);
    write('memory.max', String(request.memoryBytes + ALLOWANCE.memoryBytes));
    write('memory.swap.max', '0');
    write('pids.max', String(request.pidsLimit + ALLOWANCE.pids));
    write('cpu.max', `${Math.round((request.cpus + ALLOWANCE.cpus) * CPU_PERIOD_US)} ${CPU_PERIOD_US}`);
    // The container's cgroup below gets its own limits from Podman, so the controllers must reach it.
    enableControllers(directory);
  }

  parent(name: string): string {
    return this.#options.recorded(name) ?? `${this.#options.base()}/${name}`;
  }

  processes(name: string): number[] {
    const leaf = this.#leaf(name);
    return leaf ? processesBelow(leaf) : [];
  }

  aliveProbe(name: string): AliveProbe | null {
    const leaf = this.#leaf(name);
    if (!leaf) return null;
    let file: number;
    try {
      file = openSync(join(leaf, 'cgroup.events'), 'r');
    } catch (error) {
      if (isGone(error)) return null;
      throw error;
    }
    const text = Buffer.alloc(256);
    return {
      alive: () => {
        try {
          const length = readSync(file, text, 0, text.length, 0);
          return text.toString('latin1', 0, length).includes('populated 1');
        } catch (error) {
          if (isGone(error)) return false;
          throw error;
        }
      },
      close: () => closeSync(file),
    };
  }

  counters(name: string): Counters {
    const parent = this.#directory(name);
    const microseconds = readKeyed('usage_usec', parent, 'cpu.stat');
    return {
      oomKills: readKeyed('oom_kill', parent, 'memory.events'),
      memoryPeakBytes: readNumber(parent, 'memory.peak'),
      cpuSeconds: microseconds === null ? null : microseconds / 1e6,
      pidsPeak: readNumber(parent, 'pids.peak'),
      pidsRefused: readKeyed('max', parent, 'pids.events'),
      bytesWritten: writtenBytes(readControl(parent, 'io.stat')),
    };
  }

  /** `cgroup.kill` (Linux 5.14) reaches also what is being forked at this moment. */
  killAll(name: string): boolean {
    const leaf = this.#leaf(name);
    if (!leaf) return true;
    try {
      writeFileSync(join(leaf, 'cgroup.kill'), '1', { flag: 'r+' });
      return true;
    } catch (error) {
      if (isGone(error) || systemCode(error) === 'EACCES') return false;
      throw error;
    }
  }

  remove(name: string): boolean {
    return removeTree(this.#directory(name));
  }

  names(): string[] {
    const { mount, bases } = this.#options;
    return [...new Set(bases().flatMap((base) => subdirectories(join(mount, base))))];
  }

  close(): void {
    for (const base of this.#options.bases()) {
      removeEmpty(join(this.#options.mount, base));
      removeEmpty(join(this.#options.mount, dirname(base)));
    }
  }

  #directory(name: string): string {
    return join(this.#options.mount, this.parent(name));
  }

  #leaf(name: string): string | undefined {
    const parent = this.#directory(name);
    const leaf = leafOf(parent);
    return leaf === undefined ? undefined : join(parent, leaf);
  }
}

/** Makes `base` and lets its controllers through, from the first cgroup on its path that is ours to write. */
export function delegateBelow(mount: string, base: string): void {
  mkdirSync(join(mount, base), { recursive: true });
  const segments = base.split('/').filter(Boolean);
  for (let depth = 0; depth <= segments.length; depth += 1)
    enableControllers(join(mount, ...segments.slice(0, depth)));
}

/** One at a time, so that one that is missing does not refuse the others. */
export function enableControllers(directory: string): void {
  const enabled = (readControl(directory, 'cgroup.subtree_control') ?? '').trim().split(' ');
  for (const controller of CONTROLLERS) {
    if (enabled.includes(controller)) continue;
    try {
      writeFileSync(join(directory, 'cgroup.subtree_control'), `+${controller}`, { flag: 'r+' });
    } catch (error) {
      // Not ours to write above the delegated part, not there on this kernel, or processes in it (EBUSY).
      if (
        !['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'EBUSY', 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP'].includes(
          systemCode(error) ?? '',
        )
      )
        throw error;
    }
  }
}

/** A control file that is missing means a controller that we were not given; `doctor` tells about that. */
function writeExisting(path: string, value: string): void {
  try {
    writeFileSync(path, value, { flag: 'r+' });
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

function writtenBytes(text: string | undefined): number | null {
  if (text === undefined) return null;
  let bytes = 0;
  for (const [, value] of text.matchAll(/\bwbytes=(\d+)/g)) bytes += Number(value);
  return bytes;
}
