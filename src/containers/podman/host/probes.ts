/** What this host can do, found out by trying. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, systemCode } from '../../../errors.ts';
import { ifThere } from '../../../files/if-missing.ts';
import { CgroupsV1, cgroupMounts } from '../cgroups/cgroup-v1.ts';
import { type Cgroups, noCgroups } from '../cgroups/cgroups.ts';
import { isRecord } from '../../../is-record.ts';
import type { PodmanClient } from '../service/http.ts';
import { ID_RANGE_SIZE } from '../container/job-user.ts';
import { LoopDisk } from '../disks/loop-disk.ts';
import { sandboxPaths } from '../sandbox/paths.ts';
import { sandboxRoot } from '../sandbox/sandboxes.ts';

export const CGROUP_MOUNT = '/sys/fs/cgroup';

export const cgroupVersion = (): 1 | 2 => (existsSync(join(CGROUP_MOUNT, 'cgroup.controllers')) ? 2 : 1);

/** v1 controllers with a v2 hierarchy beside them. crun refuses it. */
export const isHybrid = (): boolean => cgroupVersion() === 1 && existsSync(join(CGROUP_MOUNT, 'unified'));

export interface EngineInfo {
  readonly version: string;
  readonly ociRuntime: string;
  readonly cgroupManager: string;
  readonly rootless: boolean;
  readonly selinux: boolean;
  /** How and where Podman keeps images. */
  readonly graphDriver: string;
  readonly graphRoot: string;
}

export async function engineInfo(podman: PodmanClient): Promise<EngineInfo> {
  const { body } = await podman.call('GET', '/info');
  const at = (...path: string[]): unknown =>
    path.reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), body);
  const text = (value: unknown): string => (typeof value === 'string' ? value : 'unknown');
  return {
    version: text(at('version', 'Version')),
    ociRuntime: text(at('host', 'ociRuntime', 'name')),
    cgroupManager: text(at('host', 'cgroupManager')),
    rootless: at('host', 'security', 'rootless') === true,
    selinux: at('host', 'security', 'selinuxEnabled') === true,
    graphDriver: text(at('store', 'graphDriverName')),
    graphRoot: text(at('store', 'graphRoot')),
  };
}

/** Hard limits of a process, from its `/proc/<pid>/limits`; children have the same, or less. */
export function hardLimits(limits = readFileSync('/proc/self/limits', 'utf8')): {
  nofile: number;
  nproc: number;
} {
  const hard = (name: string): number => {
    const value = new RegExp(`^${name} +\\S+ +(\\S+)`, 'm').exec(limits)?.[1];
    return value === undefined || value === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(value);
  };
  return { nofile: hard('Max open files'), nproc: hard('Max processes') };
}

/** Who else was given ids of our range, by the lines of /etc/subuid or /etc/subgid. */
export function overlappingOwners(idBase: number, subids: string): string[] {
  return subids.split('\n').flatMap((line) => {
    const [owner, start, count] = line.trim().split(':');
    const first = Number(start);
    const overlaps = owner && first < idBase + ID_RANGE_SIZE && first + Number(count) > idBase;
    return overlaps ? [owner] : [];
  });
}

export const readIfThere = (path: string): string => ifThere(() => readFileSync(path, 'utf8'), '');

/** @returns why a loop-mounted disk cannot be had here; null when it can */
export async function tryLoopDisk(dataDir: string): Promise<string | null> {
  const root = sandboxRoot(join(dataDir, 'probe'));
  // What probes of dead processes left.
  for (const old of readdirSync(root))
    if (!isAlive(Number(old.split('-')[1]))) await discard(join(root, old));
  const directory = join(root, `disk-${process.pid}-${Date.now()}`);
  mkdirSync(directory, { mode: 0o700 });
  try {
    await new LoopDisk(sandboxPaths(directory), { idBase: null }).make(8 * 1024 * 1024, []);
    return null;
  } catch (error) {
    return messageOf(error);
  } finally {
    await discard(directory);
  }
}

async function discard(probe: string): Promise<void> {
  const paths = sandboxPaths(probe);
  await new LoopDisk(paths, { idBase: null }).remove();
  rmSync(`${paths.image}.lock`, { force: true });
  rmSync(paths.diskBaseline, { force: true });
  for (const directory of [paths.disk, paths.directory])
    if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/**
 * Tries to limit memory and processes in a v1 cgroup of ours.
 * @param base path of the cgroup that will hold those of the sandboxes
 */
export function tryCgroupsV1(base: string): { cgroups: Cgroups; swapLimit: boolean; problem: string | null } {
  const mounts = cgroupMounts();
  const cgroups = new CgroupsV1(base, mounts);
  const probe = cgroups.of(`probe-${process.pid}`);
  try {
    probe.make();
    probe.limit({ cpus: 1, memoryBytes: 64 * 1024 * 1024, pidsLimit: 16 });
    const memory = mounts.byController.get('memory') ?? CGROUP_MOUNT;
    return {
      cgroups,
      swapLimit: existsSync(join(memory, probe.path, 'memory.memsw.limit_in_bytes')),
      problem: null,
    };
  } catch (error) {
    return { cgroups: noCgroups(1), swapLimit: false, problem: messageOf(error) };
  } finally {
    probe.remove();
  }
}

/** Whether a cgroup of ours in the v2 hierarchy would limit memory, processes and cpu. @returns what is missing */
export function missingControllers(base: string, wanted = ['memory', 'pids', 'cpu']): string[] {
  const available = readIfThere(join(CGROUP_MOUNT, base, 'cgroup.subtree_control'))
    .trim()
    .split(' ');
  return wanted.filter((controller) => !available.includes(controller));
}

/** @returns why processes and cgroups can't be put below `base`; null when they can */
export function tryWritable(base: string): string | null {
  const probe = join(CGROUP_MOUNT, base, `probe-${process.pid}`);
  try {
    mkdirSync(probe, { recursive: true });
    writeFileSync(join(probe, 'cgroup.max.descendants'), 'max', { flag: 'r+' });
    rmdirSync(probe);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
