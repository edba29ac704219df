/** Cgroup v2: one hierarchy, counters that include everything below, so the parent alone tells all. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemCode } from '../../../errors.ts';
import type { Limits } from '../../sandbox.ts';
import {
  ALLOWANCE,
  type AliveProbe,
  CPU_PERIOD_US,
  type Cgroup,
  type Cgroups,
  type Counters,
  isGone,
  leafOf,
  type Memory,
  probeOf,
  processesBelow,
  readControl,
  readCores,
  readKeyed,
  readMemory,
  readNumber,
  removeEmpty,
  removeTree,
  subdirectories,
  sumOf,
} from './cgroups.ts';

export const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'pids', 'io'] as const;

export interface CgroupsV2Options {
  readonly mount: string;
  /**
   * Path of the cgroup for new sandboxes, from the root of the hierarchy, in one that was delegated to us.
   * Asked anew each time: a service that was restarted may have another.
   */
  readonly base: () => string;
  /** Every base that may hold sandboxes. */
  readonly bases: () => readonly string[];
}

export class CgroupsV2 implements Cgroups {
  readonly version = 2;
  readonly #options: CgroupsV2Options;

  constructor(options: CgroupsV2Options) {
    this.#options = options;
  }

  of(id: string): Cgroup {
    return this.at(`${this.#options.base()}/${id}`);
  }

  at(path: string): Cgroup {
    return new CgroupV2(path, this.#options.mount);
  }

  found(): ReadonlyMap<string, Cgroup> {
    const { mount, bases } = this.#options;
    return new Map(
      bases().flatMap((base) =>
        subdirectories(join(mount, base)).map((id) => [id, this.at(`${base}/${id}`)] as const),
      ),
    );
  }

  close(): void {
    for (const base of this.#options.bases()) {
      removeEmpty(join(this.#options.mount, base));
      removeEmpty(join(this.#options.mount, dirname(base)));
    }
  }
}

class CgroupV2 implements Cgroup {
  readonly path: string;
  readonly #mount: string;
  readonly #directory: string;

  constructor(path: string, mount: string) {
    this.path = path;
    this.#mount = mount;
    this.#directory = join(mount, path);
  }

  make(): void {
    delegateBelow(this.#mount, dirname(this.path));
    mkdirSync(this.#directory, { recursive: true });
    // The container's cgroup below gets its own limits from Podman, so the controllers must reach it.
    enableControllers(this.#directory);
  }

  limit(limits: Limits): void {
    const write = (file: string, value: string): void => writeExisting(join(this.#directory, file), value);
    write('memory.max', String(limits.memoryBytes + ALLOWANCE.memoryBytes));
    write('memory.swap.max', '0');
    write('pids.max', String(limits.pidsLimit + ALLOWANCE.pids));
    write('cpu.max', `${Math.round((limits.cpus + ALLOWANCE.cpus) * CPU_PERIOD_US)} ${CPU_PERIOD_US}`);
  }

  processes(): number[] {
    const leaf = this.#leaf();
    return leaf ? processesBelow(leaf) : [];
  }

  aliveProbe(): AliveProbe | null {
    const leaf = this.#leaf();
    return leaf ? probeOf(join(leaf, 'cgroup.events'), (text) => text.includes('populated 1')) : null;
  }

  counters(): Counters {
    const parent = this.#directory;
    const microseconds = readKeyed('usage_usec', parent, 'cpu.stat');
    return {
      oomKills: readKeyed('oom_kill', parent, 'memory.events'),
      memoryPeakBytes: readNumber(parent, 'memory.peak'),
      cpuSeconds: microseconds === null ? null : microseconds / 1e6,
      pidsPeak: readNumber(parent, 'pids.peak'),
      pidsRefused: readKeyed('max', parent, 'pids.events'),
      bytesWritten: sumOf(readControl(parent, 'io.stat'), /\bwbytes=(\d+)/g),
    };
  }

  memory(): Memory | null {
    const leaf = this.#leaf();
    return leaf ? readMemory(leaf, 'memory.current', { cache: 'file', shmem: 'shmem' }) : null;
  }

  /** An empty `cpuset.cpus` sets no bound; then what is above it holds. */
  cores(): readonly number[] | null {
    const leaf = this.#leaf();
    return leaf ? readCores(join(leaf, 'cpuset.cpus'), join(leaf, 'cpuset.cpus.effective')) : null;
  }

  /** `cgroup.kill` (Linux 5.14) reaches also what is being forked at this moment. */
  killAll(): boolean {
    const leaf = this.#leaf();
    if (!leaf) return true;
    try {
      writeFileSync(join(leaf, 'cgroup.kill'), '1', { flag: 'r+' });
      return true;
    } catch (error) {
      if (isGone(error) || systemCode(error) === 'EACCES') return false;
      throw error;
    }
  }

  remove(): boolean {
    return removeTree(this.#directory);
  }

  #leaf(): string | undefined {
    const leaf = leafOf(this.#directory);
    return leaf === undefined ? undefined : join(this.#directory, leaf);
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
