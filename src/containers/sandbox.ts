/**
 * A *sandbox* is all that one dispatch of one job owns on a host: a parent cgroup that carries the limits and outlives
 * the container, a bounded disk for everything that the job may write, a private spool of the engine's log, the
 * container, and what is known of how it ended. It is an object with an id of its own: it is *provisioned* before
 * anybody knows what will run in it, and its record says which dispatch was *launched* in it.
 *
 * A launch is {@link Sandbox.bind}, then {@link Sandbox.start}; between them the caller writes down that the container
 * exists. Every method is idempotent and safe after a crash between any two steps.
 */
import type { CacheMount, Mount } from './mounts.ts';
import type { ContainerState, Verdict } from './runtime.ts';
import type { ShellCommand } from './shell.ts';

/** What is known before the job is. */
export interface ProvisionRequest {
  readonly diskBytes: number;
  /** Their places are made now, so that a launch only has to fill them. */
  readonly mounts: readonly Mount[];
}

export interface Limits {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly pidsLimit: number;
}

/** The half that binds a job to it. Numbers: whole bytes. */
export interface LaunchSpec extends Limits {
  readonly jobId: string;
  readonly epoch: number;
  readonly jobType: 'worker' | 'agent';
  readonly image: string;
  /** As uid 0 of its own user namespace, with what package managers need. */
  readonly root: boolean;
  /** A text for a shell, or argv; an empty one means the image's own entrypoint and command. */
  readonly command: readonly string[] | ShellCommand;
  /** They win over the image's own. */
  readonly env: Readonly<Record<string, string>>;
  /** Those that it gets where neither the image nor `env` has them. */
  readonly defaultEnv?: Readonly<Record<string, string>>;
  readonly network: 'internet' | 'none';
  /** Added to those that it was provisioned with. */
  readonly mounts: readonly Mount[];
  /** Key of a layer that is laid over the image, see package-layers.ts. */
  readonly layer?: string | undefined;
  /** It makes such a layer for the job, and is no run of it. */
  readonly isBuild?: boolean;
}

/** The dispatch that a sandbox is bound to. */
export interface BoundDispatch {
  readonly jobId: string;
  readonly epoch: number;
}

export interface Sandbox {
  readonly id: string;
  /** Null until a job is bound to it; a build is nobody's once the process that began it is dead. */
  readonly dispatch: BoundDispatch | null;

  /**
   * First half of a launch: writes down for which dispatch it is, sets its limits and creates the container.
   * @returns container id
   * @throws FlashpodsError container_start_failed
   */
  bind(spec: LaunchSpec): Promise<string>;

  /** What runs the command: `bash -o pipefail`, `sh`, or the first line of a script. Null before `bind`, and for argv. */
  readonly ranBy: string | null;

  /**
   * Second half: starts the container, once in its life. For one that runs or has run it does nothing. Waits for the
   * disk, which may still be in the making.
   * @throws FlashpodsError container_start_failed (also when an earlier start of it was tried and failed)
   * @throws FlashpodsError container_error when Podman did not answer: it may run or not; call again or inspect
   */
  start(): Promise<void>;

  /** @returns null when there is no container. @throws when Podman does not answer: conclude nothing. */
  inspect(): Promise<ContainerState | null>;

  /**
   * Waits until nothing of the container runs, its exit code is known and its spool is complete; null when it
   * vanished. Goes on waiting while Podman is away. The exit code is null when the engine's monitor was killed,
   * so that nobody can know it any more.
   * @throws the signal's reason
   */
  waitForExit(signal: AbortSignal): Promise<ContainerState | null>;

  /** SIGTERM to every process of the job, also those that an init or shell as PID 1 would not pass it on to. */
  terminate(): Promise<void>;

  /** SIGKILL to everything in the job's cgroup, again and again until it is empty. */
  kill(): Promise<void>;

  /** Cause and usage, from the parent cgroup and the disk. */
  verdict(): Promise<Verdict>;

  /** Absolute path of the engine's log spool of the container (k8s-file format, see src/logs). */
  readonly spoolPath: string;

  /**
   * Absolute path on the host of what the job saw as `/artifacts`, its disk mounted again if a reboot has unmounted it.
   * The job's content: hostile. The path may be missing when nothing of the sandbox is left.
   */
  artifactsPath(): Promise<string>;

  /** The same for `/work`, with the files that were sent and what the job has made of them. */
  workPath(): Promise<string>;

  /**
   * Copies what the container has changed of its image into a new directory, as a layer. For after {@link remove}, on
   * hosts with writable roots.
   * @param makeRoom is told how many bytes it will take
   * @returns the same number
   * @throws what the file system has against it, the signal's reason
   */
  saveLayer(
    directory: string,
    makeRoom: (bytes: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<number>;

  /** As they are mounted: one that was broken has no layers. */
  readonly caches: readonly CacheMount[];

  /** What the job should be told of those that were broken; empty before `start`. */
  readonly brokenCaches: readonly CacheMount[];

  /**
   * Copies what the job has changed of a cache into a new directory, as a layer whose files all have one owner. For
   * after {@link remove}, on hosts with writable roots.
   * @param makeRoom is told how much it is; what it throws ends it
   * @returns how much it is; null when nothing was changed, and nothing made
   * @throws what the file system has against it, the signal's reason
   */
  saveCache(
    mount: CacheMount,
    directory: string,
    makeRoom: (weight: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<number | null>;

  /** Removes the container only: after this its processes are gone and its capacity is free. */
  remove(): Promise<void>;

  /** Removes everything else of the sandbox (disk, spool, cgroup), and the container if it is still there. */
  dispose(): Promise<void>;
}

export const isArgv = (command: LaunchSpec['command']): command is readonly string[] =>
  Array.isArray(command);
