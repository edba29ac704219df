/**
 * What the processors need of a container engine: it makes sandboxes and finds them again. Everything that is
 * particular to Podman stays behind this interface and that of a {@link Sandbox} (`podman/`).
 */
import type { HostImage } from '../images/image.ts';
import type { ImageRemoval, RemovalOutcome } from '../hosts/removal.ts';
import type { Caches } from './caches.ts';
import type { PackageLayers } from './package-layers.ts';
import type { ProvisionRequest, Sandbox } from './sandbox.ts';

/** How this host runs containers; found out by trying, shown by `doctor` and `/health`. */
export interface RuntimeFacts {
  readonly engine: string; // 'podman 4.3.1'
  readonly ociRuntime: string; // 'runc' | 'crun'
  readonly rootless: boolean;
  readonly cgroupVersion: 1 | 2;
  readonly cgroupManager: string;
  /** Whether cpus, memory and pids limits hold. */
  readonly limits: boolean;
  readonly disk: 'loop' | 'watch';
  /** What a job may write to of its root file system: all of it, or the directories that are made for it. */
  readonly root: 'writable' | 'read-only';
  /** Host ids behind container ids: base of the reserved range, or null with keep-id. */
  readonly idBase: number | null;
  readonly notes: readonly string[];
}

export type ContainerPhase = 'created' | 'running' | 'exited';

export interface ContainerState {
  readonly name: string;
  readonly id: string;
  readonly sandboxId: string;
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
  /** What the job wrote is not all on its disk: it had I/O errors. Records of earlier versions say nothing. */
  readonly diskError?: boolean;
  readonly pidsExhausted: boolean;
}

/** A sandbox that is on this host, and its container as a list shows it: times in whole seconds. */
export interface FoundSandbox {
  readonly sandbox: Sandbox;
  readonly container: ContainerState | null;
}

/** What a dispatch's sandbox takes of the host's disk, a build's included. */
export interface HeldDisk {
  readonly jobId: string;
  readonly epoch: number;
  readonly bytes: number;
}

export interface ContainerRuntime {
  readonly facts: RuntimeFacts;

  /** Null on a host without writable roots. */
  readonly packages: PackageLayers | null;

  /** Null on a host without writable roots: there each cache is cold, and none is kept. */
  readonly caches: Caches | null;

  /** The images that are on this host and have a name, and what was installed over them. @throws when Podman does not answer */
  images(): Promise<readonly HostImage[]>;

  /** Whether the image is on this host now. */
  hasImage(image: string): Promise<boolean>;

  /**
   * Makes sure that the image is here; two callers pull once. `onProgress` gets lines for the job's log.
   * @throws FlashpodsError image_pull_failed
   * @returns the image's digest (`sha256:…`)
   */
  ensureImage(image: string, onProgress: (line: string) => void, signal: AbortSignal): Promise<string>;

  /**
   * Removes an image by its name, or what was installed over it, unless a job uses it.
   * @throws FlashpodsError container_error
   */
  removeImage(removal: ImageRemoval): Promise<RemovalOutcome['state']>;

  /**
   * Makes a sandbox that no job is bound to. Its disk may still be in the making when this resolves.
   * @throws FlashpodsError container_start_failed; nothing of it is left then
   */
  provision(request: ProvisionRequest): Promise<Sandbox>;

  /**
   * The sandbox that a dispatch was bound to, by this process or an earlier one.
   * @returns null when nothing of one is left. @throws when Podman does not answer
   */
  find(jobId: string, epoch: number): Promise<Sandbox | null>;

  /**
   * Every sandbox of which anything is left on this host, bound or not: container, disk, mount, cgroup, directory.
   * @throws when Podman does not answer
   */
  sandboxes(): Promise<readonly FoundSandbox[]>;

  /** What sandboxes take of the host's disk now. */
  disks(): readonly HeldDisk[];

  close(): Promise<void>;
}
