/** Cgroup v1 (and hybrid): one hierarchy for each controller, counters that are local to each cgroup. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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

/** The hierarchies that we count or limit in. Podman makes its own directories in all others. */
const OURS = ['memory', 'cpu', 'cpuacct', 'pids', 'blkio'] as const;
type Controller = (typeof OURS)[number] | 'cpuset';

interface Mounts {
  readonly byController: ReadonlyMap<string, string>;
  /** Every mounted hierarchy, v2's in hybrid mode included. */
  readonly all: readonly string[];
}

/** From `/proc/self/mountinfo`. */
export function cgroupMounts(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): Mounts {
  const byController = new Map<string, string>();
  const all = new Set<string>();
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ');
    const [type, , options] = right?.split(' ') ?? [];
    const mountPoint = left?.split(' ')[4];
    if (!mountPoint || (type !== 'cgroup' && type !== 'cgroup2')) continue;
    all.add(mountPoint);
    if (type === 'cgroup')
      for (const option of options?.split(',') ?? []) byController.set(option, mountPoint);
  }
  return { byController, all: [...all] };
}

export class CgroupsV1 implements Cgroups {
  readonly version = 1;
  readonly #base: string;
  readonly #mounts: Mounts;

  /** @param base path of the cgroup that holds one for each sandbox, from the root of every hierarchy */
  constructor(base: string, mounts = cgroupMounts()) {
    this.#base = base;
    this.#mounts = mounts;
  }

  of(id: string): Cgroup {
    return this.at(`${this.#base}/${id}`);
  }

  at(path: string): Cgroup {
    return new CgroupV1(path, this.#mounts);
  }

  found(): ReadonlyMap<string, Cgroup> {
    const ids = this.#mounts.all.flatMap((mount) => subdirectories(join(mount, this.#base)));
    return new Map(ids.map((id) => [id, this.of(id)]));
  }

  close(): void {
    for (const mount of this.#mounts.all)
      for (let path = this.#base; path !== '/'; path = dirname(path)) removeEmpty(join(mount, path));
  }
}

class CgroupV1 implements Cgroup {
  readonly path: string;
  readonly #mounts: Mounts;

  constructor(path: string, mounts: Mounts) {
    this.path = path;
    this.#mounts = mounts;
  }

  make(): void {
    for (const controller of OURS) {
      const directory = this.#directory(controller);
      if (directory) mkdirSync(directory, { recursive: true });
    }
  }

  limit(limits: Limits): void {
    const memory = limits.memoryBytes + ALLOWANCE.memoryBytes;
    this.#write('memory', 'memory.limit_in_bytes', memory);
    this.#write('memory', 'memory.memsw.limit_in_bytes', memory, { optional: true });
    this.#write('cpu', 'cpu.cfs_period_us', CPU_PERIOD_US);
    this.#write('cpu', 'cpu.cfs_quota_us', Math.round((limits.cpus + ALLOWANCE.cpus) * CPU_PERIOD_US));
    this.#write('pids', 'pids.max', limits.pidsLimit + ALLOWANCE.pids);
  }

  processes(): number[] {
    const leaf = this.#leaf('pids');
    return leaf ? processesBelow(leaf) : [];
  }

  aliveProbe(): AliveProbe | null {
    const leaf = this.#leaf('pids');
    // An open `cgroup.procs` would answer from a list that the kernel keeps for a second; this one is exact.
    return leaf ? probeOf(join(leaf, 'pids.current'), (text) => text.trim() !== '0') : null;
  }

  /** From the leaf while it is there: it counts the job without conmon, and alone knows kills and refusals. */
  counters(): Counters {
    const file = (controller: Controller, file: string): string =>
      join(this.#leaf(controller) ?? this.#directory(controller) ?? '/nonexistent', file);
    const nanoseconds = readNumber(file('cpuacct', 'cpuacct.usage'));
    const pidsLeaf = this.#leaf('pids');
    const memoryLeaf = this.#leaf('memory');
    return {
      oomKills: memoryLeaf ? readKeyed('oom_kill', memoryLeaf, 'memory.oom_control') : null,
      memoryPeakBytes: readNumber(file('memory', 'memory.max_usage_in_bytes')),
      cpuSeconds: nanoseconds === null ? null : nanoseconds / 1e9,
      pidsPeak: readNumber(file('pids', 'pids.peak')),
      pidsRefused: pidsLeaf ? readKeyed('max', pidsLeaf, 'pids.events') : null,
      bytesWritten: sumOf(
        readControl(this.#directory('blkio') ?? '/nonexistent', 'blkio.throttle.io_service_bytes_recursive'),
        /^\d+:\d+ Write (\d+)$/gm,
      ),
    };
  }

  memory(): Memory | null {
    const leaf = this.#leaf('memory');
    const keys = { cache: 'total_cache', shmem: 'total_shmem' };
    return leaf ? readMemory(leaf, 'memory.usage_in_bytes', keys) : null;
  }

  cores(): readonly number[] | null {
    const leaf = this.#leaf('cpuset');
    return leaf ? readCores(join(leaf, 'cpuset.cpus')) : null;
  }

  killAll(): boolean {
    return false;
  }

  remove(): boolean {
    let empty = true;
    for (const mount of this.#mounts.all) empty = removeTree(join(mount, this.path)) && empty;
    return empty;
  }

  #directory(controller: Controller): string | undefined {
    const mount = this.#mounts.byController.get(controller);
    return mount === undefined ? undefined : join(mount, this.path);
  }

  #leaf(controller: Controller): string | undefined {
    const parent = this.#directory(controller);
    const leaf = parent === undefined ? undefined : leafOf(parent);
    return parent === undefined || leaf === undefined ? undefined : join(parent, leaf);
  }

  #write(controller: Controller, file: string, value: number, { optional = false } = {}): void {
    const directory = this.#directory(controller);
    if (directory === undefined) throw new Error(`this host has no ${controller} cgroup`);
    try {
      // Not created: a control file that is missing means that the kernel does not have it.
      writeFileSync(join(directory, file), String(value), { flag: 'r+' });
    } catch (error) {
      if (!(optional && ['ENOENT', 'EACCES', 'EOPNOTSUPP'].includes(systemCode(error) ?? ''))) throw error;
    }
  }
}
