/** Puts a {@link ContainerRuntime} together from what this host can do. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { FlashpodsError, systemCode } from '../../errors.ts';
import { isCopy, markPlace } from '../../files/place.ts';
import type { MirrorSource } from '../../mirrors/mirrors.ts';
import type { Logger } from '../../observability/logger.ts';
import type { ContainerRuntime, RuntimeFacts } from '../runtime.ts';
import { HostCaches } from './caches/host-caches.ts';
import { cgroupMounts } from './cgroups/cgroup-v1.ts';
import { CgroupsV2, delegateBelow } from './cgroups/cgroup-v2.ts';
import { type Cgroups, noCgroups } from './cgroups/cgroups.ts';
import { coresOf } from './cgroups/cores.ts';
import type { ContainerHost } from './container/create-spec.ts';
import { writeJobProfile } from './container/seccomp.ts';
import type { DiskOwner, MakeDisk } from './disks/disk.ts';
import { command } from './host/command.ts';
import {
  CGROUP_MOUNT,
  type EngineInfo,
  cgroupVersion,
  engineInfo,
  hardLimits,
  isHybrid,
  missingControllers,
  overlappingOwners,
  readIfThere,
  tryCgroupsV1,
  tryLoopDisk,
  tryWritable,
} from './host/probes.ts';
import { HostRuntime } from './host-runtime.ts';
import { PodmanClient } from './service/http.ts';
import { Images } from './images/images.ts';
import { LoopDisk } from './disks/loop-disk.ts';
import { ImageHolds } from './rootfs/image-holds.ts';
import { ImageLayers } from './rootfs/image-layers.ts';
import { MirrorLayers } from './rootfs/mirror-layers.ts';
import { HostPackageLayers, type PackageLayersOptions, packagesBelow } from './rootfs/package-layers.ts';
import { tryWritableRoot } from './rootfs/probe.ts';
import { WritableRoots } from './rootfs/writable-root.ts';
import { recordsBelow, sandboxRoot } from './sandbox/sandboxes.ts';
import { raiseHostInotify } from './host/inotify.ts';
import { readServiceRecord } from './service/service-record.ts';
import { treeProcesses } from '../../tree-process/tree-processes.ts';
import { WatchedDisk } from './disks/watched-disk.ts';

/** First host id behind container ids, where root runs Podman. Far above what `useradd` hands out. */
export const DEFAULT_ID_BASE = 1_000_000;

const IMAGE_IDLE_MS = 60_000;

export interface PodmanRuntimeOptions {
  readonly socketPath: string;
  /** Letters, digits, `.`, `_`, `-`. */
  readonly hostName: string;
  /** Tells installations on one machine apart; the same characters. */
  readonly deploymentId: string;
  readonly dataDir: string;
  /** Where `startPodmanService` ran, if it did. */
  readonly runDir: string;
  readonly idBase?: number;
  /** From where jobs fetch packages, and whom they trust, where somebody says it. */
  readonly mirrors?: Pick<MirrorSource, 'current'>;
  /** What is kept of installed packages, and when it goes for other things; 5 GiB and nothing unless said. */
  readonly packages?: { readonly ownerBytes: number; readonly minFreeBytes: number };
  /** What is kept of caches; 10 GiB and nothing unless said. */
  readonly caches?: { readonly ownerBytes: number; readonly minFreeBytes: number };
  /** What a job prints and nobody has read yet may take so much of the disk; any unless said. */
  readonly spoolBytes?: number;
  /** Does without loop mounts even where they work. */
  readonly disk?: 'watch';
  /** Does without a root file system of ours even where it works. */
  readonly root?: 'read-only';
  /** How long an image stays held after its last job. Default a minute. */
  readonly imageIdleMs?: number;
  readonly logger?: Pick<Logger, 'info' | 'warn' | 'error'>;
}

const NO_MIRRORS = { current: () => null };
const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };
const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Probes the host. @throws FlashpodsError container_error when Podman does not answer */
export async function createPodmanRuntime(options: PodmanRuntimeOptions): Promise<ContainerRuntime> {
  for (const value of [options.hostName, options.deploymentId])
    if (!PLAIN.test(value))
      throw new Error(`not a name for a host or a deployment: ${JSON.stringify(value)}`);
  const logger = options.logger ?? SILENT;
  const podman = new PodmanClient(options.socketPath);
  try {
    return await assemble(options, podman, logger);
  } catch (error) {
    podman.close();
    throw error instanceof FlashpodsError || systemCode(error) === undefined
      ? error
      : new FlashpodsError('container_error', undefined, { cause: error });
  }
}

async function assemble(
  options: PodmanRuntimeOptions,
  podman: PodmanClient,
  logger: Pick<Logger, 'info' | 'warn' | 'error'>,
): Promise<ContainerRuntime> {
  mkdirSync(options.dataDir, { recursive: true });
  if (isCopy(options.dataDir))
    throw new Error(`${options.dataDir} is a copy: its sandboxes belong to another installation`);
  markPlace(options.dataDir);
  const engine = await engineInfo(podman);
  const root = sandboxRoot(options.dataDir);
  const idBase = engine.rootless ? null : (options.idBase ?? DEFAULT_ID_BASE);
  const owner: DiskOwner = { idBase };

  const group = `flashpods/${options.hostName}.${options.deploymentId}`;
  const {
    cgroups,
    limits,
    swapLimit,
    hasCpuset,
    notes: cgroupNotes,
  } = probeCgroups(engine, root, options.runDir, group);
  const noLoop = options.disk === 'watch' ? 'switched off' : await tryLoopDisk(options.dataDir);

  const noRoot =
    options.root === 'read-only' ? 'switched off' : await tryWritableRoot(engine, options.dataDir, idBase);

  mkdirSync(options.runDir, { recursive: true });
  const seccomp = writeJobProfile(options.runDir);
  // Without root, all is counted with the user of the service alone.
  const inotify = engine.rootless ? null : raiseHostInotify();

  const facts: RuntimeFacts = {
    engine: `podman ${engine.version}`,
    ociRuntime: engine.ociRuntime,
    rootless: engine.rootless,
    cgroupVersion: cgroups.version,
    cgroupManager: engine.cgroupManager,
    limits: Object.values(limits).every(Boolean),
    disk: noLoop === null ? 'loop' : 'watch',
    root: noRoot === null ? 'writable' : 'read-only',
    idBase,
    notes: [
      ...cgroupNotes,
      ...diskNotes(noLoop),
      ...rootNotes(noRoot),
      ...idNotes(idBase),
      ...seccomp.notes,
      ...(inotify === null ? [] : [inotify]),
    ],
  };
  const removeForeign = engine.rootless ? removeInUserNamespace : removeTreeAsRoot;
  const commandForeign = engine.rootless ? commandInUserNamespace : command;
  const disk: MakeDisk = (paths, onFailing) =>
    noLoop === null
      ? new LoopDisk(paths, owner, onFailing)
      : new WatchedDisk(paths, { owner, logger, removeForeign, commandForeign, onExceeded: onFailing });
  const layers = new ImageLayers(join(options.dataDir, 'layers'), idBase ?? 0);
  const { hostName, deploymentId } = options;
  const idleMs = options.imageIdleMs ?? IMAGE_IDLE_MS;
  const holds = new ImageHolds({ podman, hostName, deploymentId, idleMs, logger });
  const mirrorLayers = new MirrorLayers(join(options.dataDir, 'mirrors'), layers);
  const roots =
    noRoot === null && idBase !== null
      ? new WritableRoots({ layers, holds, mirrors: mirrorLayers, idBase })
      : null;
  await roots?.takeOver(recordsBelow(root));
  const images = new Images(podman);
  const mirrors = options.mirrors ?? NO_MIRRORS;
  const packages = roots && packageLayers(options, { images, layers, mirrors, root, logger });
  return new HostRuntime({
    facts,
    root,
    host: {
      hostName: options.hostName,
      deploymentId: options.deploymentId,
      rootless: engine.rootless,
      idBase,
      ociRuntime: engine.ociRuntime,
      limits,
      swapLimit,
      selinux: engine.selinux,
      obeysAnnotations: engine.ociRuntime !== 'runc' && handsAnnotationsOn(engine.version),
      hardLimits: serviceLimits(options.runDir),
      seccompProfile: seccomp.path,
    },
    podman,
    images,
    cgroups,
    disk,
    cores: limits.cpu && hasCpuset ? coresOfProcess() : [],
    roots,
    mirrors,
    packages,
    caches: roots && hostCaches(options, root, logger),
    logger,
    ...(options.spoolBytes === undefined
      ? {}
      : { spools: { maxBytes: options.spoolBytes, lock: join(options.dataDir, 'spool-guard.lock') } }),
  });
}

function packageLayers(
  { dataDir, packages }: PodmanRuntimeOptions,
  {
    root,
    ...parts
  }: Pick<PackageLayersOptions, 'images' | 'layers' | 'mirrors' | 'logger'> & { readonly root: string },
): HostPackageLayers {
  return new HostPackageLayers({
    ...parts,
    directory: packagesBelow(dataDir),
    ownerBytes: packages?.ownerBytes ?? 5 * 2 ** 30,
    minFreeBytes: packages?.minFreeBytes ?? 0,
    inUse: () => new Set(recordsBelow(root).flatMap((record) => record.root?.layers ?? [])),
  });
}

const hostCaches = (
  { dataDir, caches }: PodmanRuntimeOptions,
  root: string,
  logger: Pick<Logger, 'info' | 'warn'>,
): HostCaches =>
  new HostCaches({
    directory: join(dataDir, 'caches'),
    ownerBytes: caches?.ownerBytes ?? 10 * 2 ** 30,
    minFreeBytes: caches?.minFreeBytes ?? 0,
    inUse: () =>
      new Set(
        recordsBelow(root).flatMap(({ mounts }) =>
          mounts.flatMap((mount) => (mount.kind === 'cache' ? mount.layers : [])),
        ),
      ),
    removeTree: (path) => treeProcesses().run('remove', { path }),
    sync: async (path) => void (await command('sync', '--file-system', path)),
    logger,
  });

/** Those that the kernel gives this process, and with it the containers. */
const coresOfProcess = (): number[] =>
  coresOf(/^Cpus_allowed_list:\s*(\S+)/m.exec(readIfThere('/proc/self/status'))?.[1] ?? '');

/** Podman's own, if it is ours: it may have less than we have. */
function serviceLimits(runDir: string): ContainerHost['hardLimits'] {
  const pid = readServiceRecord(runDir)?.pid;
  const limits = pid === undefined ? '' : readIfThere(`/proc/${pid}/limits`);
  return limits ? hardLimits(limits) : hardLimits();
}

/** @param podman its version @returns whether an image's annotations reach the OCI runtime: not since 4.5.1 */
function handsAnnotationsOn(podman: string): boolean {
  const [major = 0, minor = 0, patch = 0] = podman.split(/[.+-]/).map(Number);
  return major < 4 || (major === 4 && (minor < 5 || (minor === 5 && patch < 1)));
}

interface CgroupProbe {
  readonly cgroups: Cgroups;
  readonly limits: ContainerHost['limits'];
  readonly swapLimit: boolean;
  /** Whether a job's cores can be chosen. */
  readonly hasCpuset: boolean;
  readonly notes: readonly string[];
}

function probeCgroups(engine: EngineInfo, root: string, runDir: string, group: string): CgroupProbe {
  const version = cgroupVersion();
  const withoutOurs = (why: string): CgroupProbe => ({
    cgroups: noCgroups(version),
    // On v2 Podman's own scopes limit; an unprivileged user on v1 has nothing that could.
    limits: { cpu: version === 2, memory: version === 2, pids: version === 2 },
    swapLimit: version === 2,
    hasCpuset: false,
    notes: [`no parent cgroups: ${why}`],
  });
  if (engine.cgroupManager !== 'cgroupfs')
    return withoutOurs(`Podman's cgroup manager is ${engine.cgroupManager}, which takes slices only`);
  if (version === 1) {
    const { cgroups, swapLimit, problem } = tryCgroupsV1(`/${group}`);
    if (problem !== null) return withoutOurs(problem);
    return {
      cgroups,
      limits: { cpu: true, memory: true, pids: true },
      swapLimit,
      hasCpuset: cgroupMounts().byController.has('cpuset'),
      notes: [
        `cgroup v1${isHybrid() ? ' (hybrid)' : ''}: a parent cgroup for each job limits memory, cpu and processes`,
        ...(swapLimit ? [] : ['this kernel does not count swap']),
      ],
    };
  }
  // Root has the whole hierarchy; a user has what systemd delegated to the scope that the service runs in.
  const base = (): string =>
    engine.rootless ? `${readServiceRecord(runDir)?.delegatedCgroup ?? ''}/${group}` : `/${group}`;
  if (engine.rootless && !readServiceRecord(runDir)?.delegatedCgroup)
    return withoutOurs('no cgroup was delegated to the Podman service of this user');
  delegateBelow(CGROUP_MOUNT, base());
  const problem = tryWritable(base());
  if (problem !== null) return withoutOurs(problem);
  const missing = missingControllers(base());
  // A service that was restarted may have been given another one.
  const bases = (): string[] => {
    const parents = recordsBelow(root).flatMap(({ cgroupParent }) => cgroupParent ?? []);
    return [...new Set([base(), ...parents.map((parent) => parent.slice(0, parent.lastIndexOf('/')))])];
  };
  return {
    cgroups: new CgroupsV2({ mount: CGROUP_MOUNT, base, bases }),
    limits: {
      cpu: !missing.includes('cpu'),
      memory: !missing.includes('memory'),
      pids: !missing.includes('pids'),
    },
    swapLimit: true,
    hasCpuset: !missingControllers(base(), ['cpuset']).includes('cpuset'),
    notes: [
      `cgroup v2: a parent cgroup for each job below ${base()}`,
      ...(missing.length > 0 ? [`controllers that are not delegated: ${missing.join(', ')}`] : []),
    ],
  };
}

const diskNotes = (noLoop: string | null): string[] =>
  noLoop === null
    ? ["each job's disk is a loop-mounted ext4 image"]
    : [`no loop mounts (${noLoop}): disks are plain directories, measured every two seconds`];

const rootNotes = (noRoot: string | null): string[] =>
  noRoot === null
    ? ['the root file system of a job can be written to: one overlay on its disk']
    : [
        `the root file system of a job is read-only but for /work, /artifacts, /tmp, /var/tmp and its home: ${noRoot}`,
      ];

function idNotes(idBase: number | null): string[] {
  if (idBase === null) return ['rootless: ids are kept (keep-id)'];
  const owners = ['/etc/subuid', '/etc/subgid'].flatMap((file) =>
    overlappingOwners(idBase, readIfThere(file)),
  );
  const overlap = `host ids from ${idBase} on belong to ${[...new Set(owners)].join(', ')} as well; choose another id base`;
  return [`container ids are host ids from ${idBase} on`, ...(owners.length > 0 ? [overlap] : [])];
}

const removeTreeAsRoot = async (directory: string): Promise<void> =>
  void (await command('rm', '-rf', '--one-file-system', '--', directory));

/** Files that a job made under another id of its namespace are not this user's to remove. */
const removeInUserNamespace = async (directory: string): Promise<void> =>
  void (await commandInUserNamespace('rm', '-rf', '--', directory));

const commandInUserNamespace: typeof command = (file, ...args) => command('podman', 'unshare', file, ...args);
