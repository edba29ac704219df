/**
 * The body of libpod's `POST /containers/create` (its SpecGenerator) for one job. Pure: what a container may do
 * is decided here and nowhere else.
 */
import type { ContainerSpec } from '../../runtime.ts';
import { CPU_PERIOD_US } from '../cgroups/cgroups.ts';
import { idMap } from './job-user.ts';
import { LABELS } from './labels.ts';
import type { SandboxPaths } from '../sandbox/sandbox.ts';

const HOME = '/home/job';
const RUN_DIRECTORY = '/run/flashpods';
const SHM_BYTES = 16 * 1024 * 1024;
/** Programs that close every possible descriptor get slow with a soft limit of a million. */
const NOFILE = { soft: 65_536, hard: 1_048_576 };
/** Podman's service lowers its own hard limit to this, the kernel's default number of processes. */
export const NPROC = 32_768;

export type LimitedBy = 'cpu' | 'memory' | 'pids';

/** What of the host decides the form of every container on it. */
export interface ContainerHost {
  readonly hostName: string;
  readonly deploymentId: string;
  readonly rootless: boolean;
  readonly idBase: number | null;
  readonly ociRuntime: string;
  /** Which limits this host can hold; Podman refuses the others. */
  readonly limits: Readonly<Record<LimitedBy, boolean>>;
  /** Whether the kernel counts swap; a limit for it is refused otherwise. */
  readonly swapLimit: boolean;
  readonly selinux: boolean;
  /** Hard limits of the process that runs Podman: more is refused without CAP_SYS_RESOURCE. */
  readonly hardLimits: { readonly nofile: number; readonly nproc: number };
}

export interface CreateContext {
  readonly host: ContainerHost;
  readonly paths: SandboxPaths;
  /** The job's parent cgroup, or null to leave the choice to Podman. */
  readonly cgroupParent: string | null;
  /** Id inside to which the files belong that the job may change, see job-user.ts. */
  readonly filesOwner: number;
}

/** As much of a SpecGenerator as we send. */
export type CreateBody = Readonly<Record<string, unknown>>;

export function createBody(
  spec: ContainerSpec,
  image: string,
  { host, paths, cgroupParent, filesOwner }: CreateContext,
): CreateBody {
  return {
    name: spec.name,
    image,
    // As the entrypoint, a command replaces both of the image's own.
    ...(spec.command.length > 0 ? { entrypoint: spec.command, command: [] } : {}),
    env: { HOME, ...spec.env },
    labels: {
      [LABELS.job]: 'true',
      [LABELS.jobId]: spec.jobId,
      [LABELS.jobType]: spec.jobType,
      [LABELS.epoch]: String(spec.epoch),
      [LABELS.host]: host.hostName,
      [LABELS.deployment]: host.deploymentId,
    },
    work_dir: '/work',
    terminal: false,
    stdin: false,
    init: true,
    systemd: 'false',
    oci_runtime: host.ociRuntime,

    privileged: false,
    cap_drop: ['ALL'],
    no_new_privileges: true,
    read_only_filesystem: true,
    // An image's VOLUME would be a writable directory outside of the job's bounded disk.
    image_volume_mode: 'ignore',

    ...userNamespace(host, filesOwner),
    netns: { nsmode: networkMode(spec.network, host) },
    pidns: { nsmode: 'private' },
    ipcns: { nsmode: 'private' },
    utsns: { nsmode: 'private' },
    cgroupns: { nsmode: 'private' },

    mounts: mounts(spec, host, paths),
    shm_size: SHM_BYTES,

    ...(cgroupParent === null ? {} : { cgroup_parent: cgroupParent }),
    resource_limits: resourceLimits(spec, host),
    r_limits: rlimits(host),

    log_configuration: { driver: 'k8s-file', path: paths.spool },
    restart_policy: 'no',
  };
}

function userNamespace({ idBase }: ContainerHost, filesOwner: number): CreateBody {
  if (idBase === null) return { userns: { nsmode: 'keep-id' } };
  const [UIDMap, GIDMap] = [idMap(idBase, filesOwner), idMap(idBase, 0)];
  return {
    userns: { nsmode: 'private' },
    idmappings: { HostUIDMapping: false, HostGIDMapping: false, UIDMap, GIDMap },
  };
}

const networkMode = (network: ContainerSpec['network'], host: ContainerHost): string =>
  network === 'none' ? 'none' : host.rootless ? 'slirp4netns' : 'bridge';

function mounts(spec: ContainerSpec, host: ContainerHost, paths: SandboxPaths): CreateBody[] {
  // A label shared by all containers for the snapshot, which may be bound by others; private ones for the rest.
  const bind = (source: string, destination: string, access: 'ro' | 'rw', label: 'z' | 'Z'): CreateBody => ({
    type: 'bind',
    source,
    destination,
    options: ['rbind', 'rprivate', 'nosuid', 'nodev', access, ...(host.selinux ? [label] : [])],
  });
  return [
    spec.workReadOnly
      ? bind(spec.workDir ?? paths.emptyWork, '/work', 'ro', 'z')
      : bind(paths.work, '/work', 'rw', 'Z'),
    ...(Object.keys(spec.runFiles).length > 0 ? [bind(paths.run, RUN_DIRECTORY, 'ro', 'Z')] : []),
    bind(paths.artifacts, '/artifacts', 'rw', 'Z'),
    bind(paths.home, HOME, 'rw', 'Z'),
    bind(paths.tmp, '/tmp', 'rw', 'Z'),
    bind(paths.varTmp, '/var/tmp', 'rw', 'Z'),
  ];
}

function resourceLimits(spec: ContainerSpec, host: ContainerHost): CreateBody {
  const { cpu, memory, pids } = host.limits;
  return {
    ...(cpu ? { cpu: { period: CPU_PERIOD_US, quota: Math.round(spec.cpus * CPU_PERIOD_US) } } : {}),
    ...(memory
      ? { memory: { limit: spec.memoryBytes, ...(host.swapLimit ? { swap: spec.memoryBytes } : {}) } }
      : {}),
    ...(pids ? { pids: { limit: spec.pidsLimit } } : {}),
  };
}

/** Given explicitly: those of the configuration file do not reach containers made through the API. */
function rlimits({ hardLimits }: ContainerHost): CreateBody[] {
  const nofile = Math.min(NOFILE.hard, hardLimits.nofile);
  // Counted by host uid over all containers of the reserved range, so it is a backstop; pids is the job's limit.
  const nproc = Math.min(NPROC, hardLimits.nproc);
  return [
    { type: 'nofile', soft: Math.min(NOFILE.soft, nofile), hard: nofile },
    { type: 'nproc', soft: nproc, hard: nproc },
    { type: 'core', soft: 0, hard: 0 },
  ];
}
