/** Cgroup v1 (and hybrid): one hierarchy for each controller, counters that are local to each cgroup. */
import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
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

/** The hierarchies that we count or limit in. Podman makes its own directories in all others. */
const OURS = ['memory', 'cpu', 'cpuacct', 'pids', 'blkio'] as const;
type Controller = (typeof OURS)[number];

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

  make(request: ProvisionRequest): void {
    for (const controller of OURS) {
      const directory = this.#directory(controller, request.name);
      if (directory) mkdirSync(directory, { recursive: true });
    }
    const memory = request.memoryBytes + ALLOWANCE.memoryBytes;
    this.#write('memory', request.name, 'memory.limit_in_bytes', memory);
    this.#write('memory', request.name, 'memory.memsw.limit_in_bytes', memory, { optional: true });
    this.#write('cpu', request.name, 'cpu.cfs_period_us', CPU_PERIOD_US);
    this.#write(
      'cpu',
      request.name,
      'cpu.cfs_quota_us',
      Math.round((request.cpus + ALLOWANCE.cpus) * CPU_PERIOD_US),
    );
    this.#write('pids', request.name, 'pids.max', request.pidsLimit + ALLOWANCE.pids);
  }

  parent(name: string): string {
    return `${this.#base}/${name}`;
  }

  processes(name: string): number[] {
    const leaf = this.#leaf('pids', name);
    return leaf ? processesBelow(leaf) : [];
  }

  aliveProbe(name: string): AliveProbe | null {
    const leaf = this.#leaf('pids', name);
    if (!leaf) return null;
    let file: number;
    try {
      file = openSync(join(leaf, 'pids.current'), 'r');
    } catch (error) {
      if (isGone(error)) return null;
      throw error;
    }
    const digits = Buffer.alloc(16);
    return {
      // An open `cgroup.procs` would answer from a list that the kernel keeps for a second; this one is exact.
      alive: () => {
        try {
          const length = readSync(file, digits, 0, digits.length, 0);
          return digits.toString('latin1', 0, length).trim() !== '0';
        } catch (error) {
          if (isGone(error)) return false;
          throw error;
        }
      },
      close: () => closeSync(file),
    };
  }

  /** From the leaf while it is there: it counts the job without conmon, and alone knows kills and refusals. */
  counters(name: string): Counters {
    const file = (controller: Controller, file: string): string =>
      join(this.#leaf(controller, name) ?? this.#directory(controller, name) ?? '/nonexistent', file);
    const nanoseconds = readNumber(file('cpuacct', 'cpuacct.usage'));
    const pidsLeaf = this.#leaf('pids', name);
    const memoryLeaf = this.#leaf('memory', name);
    return {
      oomKills: memoryLeaf ? readKeyed('oom_kill', memoryLeaf, 'memory.oom_control') : null,
      memoryPeakBytes: readNumber(file('memory', 'memory.max_usage_in_bytes')),
      cpuSeconds: nanoseconds === null ? null : nanoseconds / 1e9,
      pidsPeak: readNumber(file('pids', 'pids.peak')),
      pidsRefused: pidsLeaf ? readKeyed('max', pidsLeaf, 'pids.events') : null,
      bytesWritten: writtenBytes(
        readControl(
          this.#directory('blkio', name) ?? '/nonexistent',
          'blkio.throttle.io_service_bytes_recursive',
        ),
      ),
    };
  }

  killAll(): boolean {
    return false;
  }

  remove(name: string): boolean {
    let empty = true;
    for (const mount of this.#mounts.all) empty = removeTree(join(mount, this.#base, name)) && empty;
    return empty;
  }

  names(): string[] {
    return [...new Set(this.#mounts.all.flatMap((mount) => subdirectories(join(mount, this.#base))))];
  }

  close(): void {
    for (const mount of this.#mounts.all)
      for (let path = this.#base; path !== '/'; path = dirname(path)) removeEmpty(join(mount, path));
  }

  #directory(controller: Controller, name: string): string | undefined {
    const mount = this.#mounts.byController.get(controller);
    return mount === undefined ? undefined : join(mount, this.#base, name);
  }

  #leaf(controller: Controller, name: string): string | undefined {
    const parent = this.#directory(controller, name);
    const leaf = parent === undefined ? undefined : leafOf(parent);
    return parent === undefined || leaf === undefined ? undefined : join(parent, leaf);
  }

  #write(controller: Controller, name: string, file: string, value: number, { optional = false } = {}): void {
    const directory = this.#directory(controller, name);
    if (directory === undefined) throw new Error(`this host has no ${controller} cgroup`);
    try {
      // Not created: a control file that is missing means that the kernel does not have it.
      writeFileSync(join(directory, file), String(value), { flag: 'r+' });
    } catch (error) {
      if (!(optional && ['ENOENT', 'EACCES', 'EOPNOTSUPP'].includes(systemCode(error) ?? ''))) throw error;
    }
  }
}

/** Sums the `Write` lines of a blkio file, over devices. */
function writtenBytes(text: string | undefined): number | null {
  if (text === undefined) return null;
  let bytes = 0;
  for (const [, value] of text.matchAll(/^\d+:\d+ Write (\d+)$/gm)) bytes += Number(value);
  return bytes;
}
