/** {@link Sandbox} on this host: one object holds all that one dispatch owns here. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { FlashpodsError, messageOf } from '../../../errors.ts';
import { ifThere } from '../../../files/if-missing.ts';
import { readJsonFile, writeJsonFile } from '../../../files/json-file.ts';
import { containerName } from '../../../ids.ts';
import { once } from '../../../lifecycle/once.ts';
import type { Logger } from '../../../observability/logger.ts';
import { pause } from '../../../timing/bell.ts';
import { ARTIFACTS, mergeMounts } from '../../mounts.ts';
import type { ContainerState, Verdict } from '../../runtime.ts';
import type { BoundDispatch, LaunchSpec, Sandbox } from '../../sandbox.ts';
import { bashOf, planCommand } from '../../shell.ts';
import { type Cgroup, type Cgroups, NO_COUNTERS } from '../cgroups/cgroups.ts';
import { Container } from '../container/container.ts';
import { type ContainerHost, createBody } from '../container/create-spec.ts';
import { environment } from '../container/environment.ts';
import type { ExitWatch } from '../container/exit-watch.ts';
import { followToExit } from '../container/exit.ts';
import { killAll } from '../container/killing.ts';
import { type Root, rootOf } from '../container/root.ts';
import { createProblem, nothingToRun } from '../container/start-problem.ts';
import { Termination } from '../container/termination.ts';
import type { Disk, MakeDisk } from '../disks/disk.ts';
import type { Images } from '../images/images.ts';
import { PodmanApiError, type PodmanClient } from '../service/http.ts';
import { type Evidence, parseEvidence, verdictOf, withLook } from './evidence.ts';
import { bindOf, directoriesOf, layMount, prepareMount } from './mounts.ts';
import type { SandboxPaths } from './paths.ts';
import { type Binding, type SandboxRecord, writeRecord } from './record.ts';

const CGROUP_REMOVE_TRIES = 100;
const CGROUP_REMOVE_EVERY_MS = 5;

/** What all sandboxes of a host share. */
export interface SandboxParts {
  readonly host: ContainerHost;
  readonly podman: PodmanClient;
  readonly images: Images;
  readonly cgroups: Cgroups;
  readonly disk: MakeDisk;
  readonly exits: ExitWatch;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

export class PodmanSandbox implements Sandbox {
  readonly id: string;
  readonly #parts: SandboxParts;
  readonly #paths: SandboxPaths;
  readonly #disk: Disk;
  readonly #onDisposed: () => void;
  #record: SandboxRecord;
  /** Null where Podman chooses one. */
  #cgroup: Cgroup | null;
  /** Null until a job is bound to it. */
  #container: Container | null;
  /** Goes on beside the container's creation; null when it is to be made, again after a failure. */
  #diskMade: Promise<void> | null = null;
  #evidence: Evidence | null = null;
  #termination: Termination | null = null;

  constructor(parts: SandboxParts, paths: SandboxPaths, record: SandboxRecord, onDisposed: () => void) {
    this.id = record.id;
    this.#parts = parts;
    this.#paths = paths;
    this.#record = record;
    this.#onDisposed = onDisposed;
    this.#cgroup = record.cgroupParent === null ? null : parts.cgroups.at(record.cgroupParent);
    this.#container = record.bound === null ? null : this.#containerOf(record.bound.container);
    this.#disk = parts.disk(paths, () => void this.#endOverfull());
  }

  get dispatch(): BoundDispatch | null {
    const { bound } = this.#record;
    return bound && { jobId: bound.jobId, epoch: bound.epoch };
  }

  get ranBy(): string | null {
    return this.#record.bound?.ranBy ?? null;
  }

  get spoolPath(): string {
    return this.#paths.spool;
  }

  /** Makes all that a launch needs. @throws what the file system or the kernel has against it */
  provision(): void {
    mkdirSync(this.#paths.directory, { recursive: true, mode: 0o700 });
    writeRecord(this.#paths, this.#record);
    this.#cgroup?.make();
    void this.#diskReady().catch(() => undefined); // `start` awaits it
  }

  async bind(spec: LaunchSpec): Promise<string> {
    const root = await rootOf(this.#parts.images, spec.image);
    // Podman from 5 on leaves this to the OCI runtime, which only says that something is empty.
    if (isArgv(spec.command) && spec.command.length === 0 && !root.hasCommand)
      throw startFailed(nothingToRun(spec.image));
    const container = this.#take(spec);
    try {
      return await this.#create(container, spec, root);
    } catch (error) {
      if (!(error instanceof PodmanApiError)) throw error;
      this.#parts.images.forget(spec.image); // it may have been removed behind our back
      // Made by an earlier call whose answer was lost.
      const existing = await container.inspect();
      if (existing?.jobId === spec.jobId && existing.epoch === spec.epoch) {
        if (existing.phase !== 'created') return existing.id;
        // What was guessed of the image when it was made, nobody knows: once more from the beginning.
        await container.discard();
        return await this.bind(spec);
      }
      throw startFailed(createProblem(error.message), error);
    }
  }

  /**
   * Only a container of an image shows what is in it: the first is made by a guess, which is right for most, and once
   * more where it was not. What was seen is remembered by the image's digest. @returns its id
   */
  async #create(container: Container, spec: LaunchSpec, root: Root): Promise<string> {
    const { images } = this.#parts;
    const hasOwnFiles = this.#record.mounts.some(({ kind }) => kind === 'layered');
    for (let user = hasOwnFiles ? root.userId : 0; ;) {
      const guess = this.#planned(spec, root);
      this.#noteBound({ ranBy: guess.ranBy });
      const id = await container.create(this.#createBody(spec, root, guess, user ?? 0));
      const named = user ?? (await container.userIdByName(root.user));
      for (const path of guess.unknown) images.rememberProgram(root.digest, path, await container.has(path));
      if (user === null) images.rememberUser(root.digest, named);
      const isRight =
        named === (user ?? 0) && guess.unknown.every((path) => images.hasProgram(root.digest, path));
      if (isRight) return id;
      user = named;
      await container.discard();
    }
  }

  /** @throws FlashpodsError container_start_failed when the image has nothing that could run the command */
  #planned(spec: LaunchSpec, { digest }: Root): Planned {
    const has = (path: string): boolean | null => this.#parts.images.hasProgram(digest, path);
    const bash = bashOf(has);
    const shell = bash.path ?? '/bin/sh';
    if (isArgv(spec.command)) return { argv: spec.command, ranBy: null, shell, unknown: bash.unknown };
    const plan = planCommand(spec.command, spec.image, has);
    if ('problem' in plan) throw startFailed(plan.problem);
    return { ...plan, shell, unknown: [...new Set([...plan.unknown, ...bash.unknown])] };
  }

  /** Writes down for whom it is, and sets what holds for that job. */
  #take(spec: LaunchSpec): Container {
    const { jobId, epoch, cpus, memoryBytes, pidsLimit } = spec;
    const limits = { cpus, memoryBytes, pidsLimit };
    const name = containerName(jobId, epoch);
    const mounts = mergeMounts(this.#record.mounts, spec.mounts);
    try {
      this.#record = {
        ...this.#record,
        mounts: mounts.filter(({ kind }) => kind !== 'files'),
        bound: { jobId, epoch, container: name, ...limits },
      };
      writeRecord(this.#paths, this.#record);
      this.#cgroup?.limit(limits);
      for (const mount of mounts) prepareMount(this.#paths, mount, this.#parts.host);
    } catch (error) {
      throw startFailed(`could not make the job's sandbox: ${messageOf(error)}`, error);
    }
    return (this.#container ??= this.#containerOf(name));
  }

  #noteBound(facts: Pick<Binding, 'ranBy'>): void {
    const { bound } = this.#record;
    if (bound === null) return;
    this.#record = { ...this.#record, bound: { ...bound, ...facts } };
    writeRecord(this.#paths, this.#record);
  }

  #createBody(
    spec: LaunchSpec,
    root: Root,
    { argv, shell }: Planned,
    filesUid: number,
  ): ReturnType<typeof createBody> {
    const mounts = mergeMounts(this.#record.mounts, spec.mounts);
    return createBody(spec, {
      host: this.#parts.host,
      name: containerName(spec.jobId, spec.epoch),
      sandbox: this.id,
      root: root.body,
      binds: mounts.map((mount) => bindOf(this.#paths, mount)),
      spool: this.#paths.spool,
      cgroupParent: this.#cgroup?.path ?? null,
      argv,
      env: environment({
        image: root.env,
        user: root.user,
        shell,
        defaults: spec.defaultEnv ?? {},
        own: spec.env,
      }),
      filesUid,
    });
  }

  async start(): Promise<void> {
    const ready = this.#diskReady().then(async () => {
      for (const mount of this.#record.mounts) await layMount(this.#paths, mount);
    });
    await ready.catch((error: unknown) => {
      throw startFailed(`could not make the job's disk: ${messageOf(error)}`, error);
    });
    await this.#bound().start();
  }

  async inspect(): Promise<ContainerState | null> {
    return (await this.#container?.inspect()) ?? null;
  }

  async waitForExit(signal: AbortSignal): Promise<ContainerState | null> {
    const container = this.#container;
    if (container === null) return null;
    this.#disk.watch(this.#record.diskBytes);
    const { exits } = this.#parts;
    const look = (): void => this.#look();
    const state = await followToExit({ container, cgroup: this.#cgroup, exits, look, signal });
    // One whose monitor is lost has no code to be kept.
    if (state === null || state.exitCode !== null) this.#note({ exitCode: state?.exitCode ?? null });
    return state;
  }

  async terminate(): Promise<void> {
    const cgroup = this.#cgroup;
    if (cgroup === null) return await this.#container?.signal('TERM');
    this.#termination?.cancel();
    this.#termination = await Termination.begin(() => cgroup.processes());
  }

  async kill(): Promise<void> {
    this.#note({ killedByUs: true });
    if (this.#cgroup === null) await this.#container?.signal('KILL');
    else await killAll(this.#cgroup, this.id);
  }

  verdict(): Promise<Verdict> {
    this.#look();
    return Promise.resolve(verdictOf(this.#known, this.#record.bound));
  }

  async artifactsPath(): Promise<string> {
    if (this.#record.diskBytes > 0) await this.#diskReady();
    return join(this.#paths.disk, ARTIFACTS.directory);
  }

  async remove(): Promise<void> {
    // Podman takes the container's cgroup with it, and on v1 nothing else counted kills for memory.
    this.#look();
    this.#keepEvidence();
    await this.#container?.remove();
    if ((this.#cgroup?.processes().length ?? 0) > 0) await this.kill();
  }

  async dispose(): Promise<void> {
    await this.#diskMade?.catch(() => undefined); // a disk is not taken away under the program that makes it
    if (this.#container?.isGone !== true) await this.remove();
    this.#termination?.cancel();
    await this.#disk.remove();
    for (let tries = 0; this.#cgroup?.remove() === false; tries += 1) {
      if (tries === CGROUP_REMOVE_TRIES) throw new Error(`${this.id}: its cgroup is still busy`);
      await pause(CGROUP_REMOVE_EVERY_MS);
    }
    // Last: as long as the directory is there, the sandbox is found.
    rmSync(this.#paths.directory, { recursive: true, force: true });
    this.#diskMade = null;
    this.#onDisposed();
  }

  /** Ends what this process does for it; the sandbox stays. */
  readonly close = once(async () => {
    this.#termination?.cancel();
    this.#disk.close();
    await this.#diskMade?.catch(() => undefined);
  });

  #containerOf(name: string): Container {
    return new Container(name, this.#parts.podman, this.#parts.logger);
  }

  #bound(): Container {
    if (this.#container === null) throw startFailed(`no job is bound to ${this.id}`);
    return this.#container;
  }

  /** The disk, made now if a crash left it unmade. */
  #diskReady(): Promise<void> {
    if (this.#diskMade) return this.#diskMade;
    const { diskBytes, mounts } = this.#record;
    if (diskBytes === 0) return Promise.reject(new Error(`${this.id} was never provisioned`));
    const made = this.#disk.make(diskBytes, directoriesOf(mounts));
    this.#diskMade = made;
    made.catch(() => (this.#diskMade = null)); // the next call tries again
    return made;
  }

  async #endOverfull(): Promise<void> {
    try {
      this.#look();
      await this.kill();
    } catch (error) {
      this.#parts.logger.warn(
        { sandbox: this.id, reason: messageOf(error) },
        'could not end a job with a full disk',
      );
    }
  }

  get #known(): Evidence {
    return (this.#evidence ??= parseEvidence(readJsonFile(this.#paths.evidence)));
  }

  #look(): void {
    this.#evidence = withLook(this.#known, this.#cgroup?.counters() ?? NO_COUNTERS, this.#disk.use());
  }

  #note(facts: Partial<Pick<Evidence, 'exitCode' | 'killedByUs'>>): void {
    this.#evidence = { ...this.#known, ...facts };
    this.#keepEvidence();
  }

  #keepEvidence(): void {
    ifThere(() => writeJsonFile(this.#paths.evidence, this.#known), undefined); // unless it is disposed already
  }
}

interface Planned {
  readonly argv: readonly string[];
  readonly ranBy: string | null;
  /** Path of the shell of people who use this image. */
  readonly shell: string;
  readonly unknown: readonly string[];
}

const isArgv = (command: LaunchSpec['command']): command is readonly string[] => Array.isArray(command);

const startFailed = (message: string, cause?: unknown): FlashpodsError =>
  new FlashpodsError('container_start_failed', message, { cause });
