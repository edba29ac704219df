/**
 * The body of libpod's `POST /containers/create` (its SpecGenerator) for one job. Pure: what a container may do
 * is decided here and nowhere else.
 */
import type { LaunchSpec } from '../../sandbox.ts';
import { CPU_PERIOD_US } from '../cgroups/cgroups.ts';
import { idMap } from './job-user.ts';
import { LABELS } from './labels.ts';
import type { Bind } from '../sandbox/mounts.ts';

/** Programs that close every possible descriptor get slow with a soft limit of a million. */
const NOFILE = { soft: 65_536, hard: 1_048_576 };
/** Podman's service lowers its own hard limit to this, the kernel's default number of processes. */
export const NPROC = 32_768;

const SIGTERM = 15;

/** What package managers and `su` need of root inside of the job's own user namespace. */
const ROOT_CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'SETUID',
  'SETGID',
  'SETFCAP',
  'SETPCAP',
  'KILL',
  'SYS_CHROOT',
  'NET_BIND_SERVICE',
  'AUDIT_WRITE',
].map((name) => `CAP_${name}`);

/**
 * What an image may say beside its program, said otherwise: a health check runs from a timer of the host, a label lets
 * `podman auto-update` restart a unit of the host, and a stop signal of its own can be one that ends nothing. None of
 * it is a job's to decide.
 */
export const NOTHING_ELSE_OF_THE_IMAGE = {
  body: { healthconfig: { Test: ['NONE'] }, stop_signal: SIGTERM },
  labels: { 'io.containers.autoupdate': '', PODMAN_SYSTEMD_UNIT: '' },
} as const;

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
  /** Whether Podman hands an image's annotations on to the OCI runtime, and that obeys them. */
  readonly obeysAnnotations: boolean;
  /** File with the system calls of a job, see seccomp.ts; null: Podman's own list. */
  readonly seccompProfile: string | null;
  /** Hard limits of the process that runs Podman: more is refused without CAP_SYS_RESOURCE. */
  readonly hardLimits: { readonly nofile: number; readonly nproc: number };
}

export interface CreateContext {
  readonly host: ContainerHost;
  readonly name: string;
  readonly sandbox: string;
  /** What is said of its root file system, see root.ts. */
  readonly root: CreateBody;
  readonly binds: readonly Bind[];
  readonly spool: string;
  /** Where it may run; none: anywhere. */
  readonly cores: readonly number[];
  /** The job's parent cgroup, or null to leave the choice to Podman. */
  readonly cgroupParent: string | null;
  /** As it is run; empty: the image's own entrypoint and command. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Id inside to which the files belong that the job may change, see job-user.ts. */
  readonly filesUid: number;
}

/** As much of a SpecGenerator as we send. */
export type CreateBody = Readonly<Record<string, unknown>>;

export function createBody(spec: LaunchSpec, context: CreateContext): CreateBody {
  const { host, cgroupParent } = context;
  return {
    name: context.name,
    ...context.root,
    // As the entrypoint, a command replaces both of the image's own.
    ...(context.argv.length > 0 ? { entrypoint: context.argv, command: [] } : {}),
    env: context.env,
    ...NOTHING_ELSE_OF_THE_IMAGE.body,
    labels: {
      ...NOTHING_ELSE_OF_THE_IMAGE.labels,
      [LABELS.job]: 'true',
      [LABELS.jobId]: spec.jobId,
      [LABELS.jobType]: spec.jobType,
      [LABELS.epoch]: String(spec.epoch),
      [LABELS.host]: host.hostName,
      [LABELS.deployment]: host.deploymentId,
      [LABELS.sandbox]: context.sandbox,
    },
    work_dir: '/work',
    terminal: false,
    stdin: false,
    init: true,
    systemd: 'false',
    oci_runtime: host.ociRuntime,

    privileged: false,
    cap_drop: ['ALL'],
    ...(spec.root ? { cap_add: ROOT_CAPABILITIES } : {}),
    no_new_privileges: true,
    ...(host.seccompProfile === null ? {} : { seccomp_profile_path: host.seccompProfile }),

    ...userNamespace(host, context.filesUid),
    netns: { nsmode: networkMode(spec.network, host) },
    pidns: { nsmode: 'private' },
    ipcns: { nsmode: 'private' },
    utsns: { nsmode: 'private' },
    cgroupns: { nsmode: 'private' },

    mounts: context.binds.map((bind) => mount(bind, host)),
    // Its pages count as the job's memory.
    shm_size: Math.floor(spec.memoryBytes / 2),

    ...(cgroupParent === null ? {} : { cgroup_parent: cgroupParent }),
    resource_limits: resourceLimits(spec, host, context.cores),
    r_limits: rlimits(host),

    log_configuration: { driver: 'k8s-file', path: context.spool },
    restart_policy: 'no',
  };
}

function userNamespace({ idBase }: ContainerHost, filesUid: number): CreateBody {
  if (idBase === null) return { userns: { nsmode: 'keep-id' } };
  const [UIDMap, GIDMap] = [idMap(idBase, filesUid), idMap(idBase, 0)];
  return {
    userns: { nsmode: 'private' },
    idmappings: { HostUIDMapping: false, HostGIDMapping: false, UIDMap, GIDMap },
  };
}

const networkMode = (network: LaunchSpec['network'], host: ContainerHost): string =>
  network === 'none' ? 'none' : host.rootless ? 'slirp4netns' : 'bridge';

function mount({ source, target, writable, shared }: Bind, host: ContainerHost): CreateBody {
  const access = ['rbind', 'rprivate', 'nosuid', 'nodev', writable ? 'rw' : 'ro'];
  // SELinux: a label shared by all containers for what may be bound by others, private ones for the rest.
  const label = host.selinux ? [shared ? 'z' : 'Z'] : [];
  return { type: 'bind', source, destination: target, options: [...access, ...label] };
}

function resourceLimits(spec: LaunchSpec, host: ContainerHost, cores: readonly number[]): CreateBody {
  const { cpu, memory, pids } = host.limits;
  return {
    ...(cpu
      ? {
          cpu: {
            period: CPU_PERIOD_US,
            quota: Math.round(spec.cpus * CPU_PERIOD_US),
            ...(cores.length > 0 ? { cpus: cores.join(',') } : {}),
          },
        }
      : {}),
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
    // With 0 the host's own handler of core dumps would still be started on what a job made; 1 starts none.
    { type: 'core', soft: 1, hard: 1 },
  ];
}
