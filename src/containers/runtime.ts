/**
 * What the processors need of a container engine. Everything that is particular to Podman stays behind
 * this interface (`podman/`). All names are sandbox names: `flashpods-<job_id>-<epoch>`.
 *
 * A *sandbox* is all that one dispatch of one job owns on a host: a parent cgroup that carries the limits and
 * outlives the container, a bounded disk for everything the job may write, a private spool directory for the
 * runtime's log, and the container. Every method is idempotent and safe after a crash between any two steps.
 */

/** How this host runs containers; found out by trying, shown by `doctor` and `/health`. */
export interface RuntimeFacts {
  readonly engine: string; // 'podman 4.3.1'
  readonly ociRuntime: string; // 'runc' | 'crun'
  readonly rootless: boolean;
  readonly cgroupVersion: 1 | 2;
  readonly cgroupManager: string;
  /** Whether cpus, memory and pids limits hold. */
  readonly limits: boolean;
  /** How a job's disk is bounded. */
  readonly disk: 'loop' | 'watch';
  /** Host ids behind container ids: base of the reserved range, or null with keep-id. */
  readonly idBase: number | null;
  readonly notes: readonly string[];
}

/** The half of a start that knows nothing of the job's command. Numbers: whole bytes. */
export interface ProvisionRequest {
  readonly name: string;
  readonly diskBytes: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly pidsLimit: number;
}

/** The half that binds a job to it. */
export interface ContainerSpec {
  readonly name: string;
  readonly jobId: string;
  readonly epoch: number;
  readonly jobType: 'worker' | 'agent';
  readonly image: string;
  /** argv; empty means the image's own entrypoint and command. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly pidsLimit: number;
  readonly network: 'internet' | 'none';
  /** Host directory that becomes `/work`, or null for an empty one. */
  readonly workDir: string | null;
  /** Otherwise `/work` is the job's own: what it changes there lies on its disk and goes with it. */
  readonly workReadOnly: boolean;
  /** Texts that the job reads as files of `/run/flashpods`, by name; without any it has no such directory. */
  readonly runFiles: Readonly<Record<string, string>>;
}

export type ContainerPhase = 'created' | 'running' | 'exited';

export interface ContainerState {
  readonly name: string;
  readonly id: string;
  readonly jobId: string;
  readonly epoch: number;
  readonly phase: ContainerPhase;
  /** The container's own exit code; null unless `exited`. */
  readonly exitCode: number | null;
  /** Milliseconds since the Unix epoch; null where the engine gives none (a zero `FinishedAt` included). */
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
}

export interface Usage {
  readonly peakMemoryBytes: number | null;
  readonly cpuSeconds: number | null;
  readonly bytesWritten: number | null;
  readonly maxProcesses: number | null;
  /** Why a value is null, by field. */
  readonly unknown?: Readonly<Record<string, string>>;
}

/** What ended a container and what it used. Read after the container's processes are gone, before `dispose`. */
export interface Verdict {
  readonly usage: Usage;
  /** The kernel killed a process of this job for memory. */
  readonly oomKilled: boolean;
  /** The job's disk is full / it ran into its process limit. */
  readonly diskFull: boolean;
  readonly pidsExhausted: boolean;
}

export interface ContainerRuntime {
  readonly facts: RuntimeFacts;

  /** Answers within `timeoutMs` or throws; for health. */
  ping(timeoutMs: number): Promise<void>;

  /** Whether the image is on this host now. */
  hasImage(image: string): Promise<boolean>;

  /**
   * Makes sure that the image is here; two callers pull once. `onProgress` gets lines for the job's log.
   * @throws FlashpodsError image_pull_failed
   * @returns the image's digest (`sha256:…`)
   */
  ensureImage(image: string, onProgress: (line: string) => void, signal: AbortSignal): Promise<string>;

  /**
   * Makes all of the sandbox but the container. The disk may still be in the making when this resolves;
   * `start` waits for it. After a reboot it mounts the disk that is there again.
   * @throws FlashpodsError container_start_failed
   */
  provision(request: ProvisionRequest): Promise<void>;

  /**
   * Creates the container, not started.
   * @returns container id
   * @throws FlashpodsError container_start_failed
   */
  create(spec: ContainerSpec): Promise<string>;

  /**
   * Starts the container, once in its life: for one that runs or has run it does nothing.
   * @throws FlashpodsError container_start_failed (also when an earlier start of it was tried and failed)
   * @throws FlashpodsError container_error when Podman did not answer: it may run or not; call again or inspect
   */
  start(name: string): Promise<void>;

  /** @returns null when there is no such container. @throws when Podman does not answer: conclude nothing. */
  inspect(name: string): Promise<ContainerState | null>;

  /**
   * All containers of this deployment's host, in any phase; times in whole seconds.
   * @throws when Podman does not answer.
   */
  list(): Promise<readonly ContainerState[]>;

  /**
   * Waits until nothing of the container runs, its exit code is known and its spool is complete; null when it
   * vanished. Goes on waiting while Podman is away. The exit code is null when the engine's monitor was killed,
   * so that nobody can know it any more.
   * @throws the signal's reason
   */
  waitForExit(name: string, signal: AbortSignal): Promise<ContainerState | null>;

  /** SIGTERM to every process of the job, also those that an init or shell as PID 1 would not pass it on to. */
  terminate(name: string): Promise<void>;

  /** SIGKILL to everything in the job's cgroup, again and again until it is empty. */
  kill(name: string): Promise<void>;

  /** Cause and usage, from the parent cgroup and the disk. */
  verdict(name: string): Promise<Verdict>;

  /** Absolute path of the engine's log spool of this container (k8s-file format, see src/logs). */
  spoolPath(name: string): string;

  /**
   * Absolute path on the host of what the job saw as `/artifacts`, its disk mounted again if a reboot has unmounted it.
   * The job's content: hostile. The path may be missing when nothing of the sandbox is left.
   */
  artifactsPath(name: string): Promise<string>;

  /** Removes the container only: after this its processes are gone and its capacity is free. */
  remove(name: string): Promise<void>;

  /** Removes everything else of the sandbox (disk, spool, cgroup), and the container if it is still there. */
  dispose(name: string): Promise<void>;

  /** Names of sandboxes of which anything is left on this host: container, disk, mount, cgroup, directory. */
  leftovers(): Promise<readonly string[]>;

  close(): Promise<void>;
}
