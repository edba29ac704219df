/**
 * {@link Sandbox} on this host: one object holds all that one dispatch owns here. Long because binding a job, its run and
 * its removal all change the same record, disk and root.
 */
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FlashpodsError, messageOf } from '../../../errors.ts';
import { ifThere } from '../../../files/if-missing.ts';
import { readJsonFile, writeJsonFile } from '../../../files/json-file.ts';
import { buildName, containerName } from '../../../ids.ts';
import { once } from '../../../lifecycle/once.ts';
import type { MirrorSource } from '../../../mirrors/mirrors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { pause } from '../../../timing/bell.ts';
import { ARTIFACTS, type CacheMount, mergeMounts, type Mount, WORK } from '../../mounts.ts';
import type { ContainerState, HeldDisk, Verdict } from '../../runtime.ts';
import type { BoundDispatch, LaunchSpec, Sandbox } from '../../sandbox.ts';
import { type Cgroup, type Cgroups, type Memory, NO_COUNTERS } from '../cgroups/cgroups.ts';
import { chooseCores } from '../cgroups/cores.ts';
import { Container } from '../container/container.ts';
import { type ContainerHost, createBody } from '../container/create-spec.ts';
import { environment } from '../container/environment.ts';
import type { ExitWatch } from '../container/exit-watch.ts';
import { followToExit } from '../container/exit.ts';
import { killAll } from '../container/killing.ts';
import { type CommandPlan, planFor } from '../container/command-plan.ts';
import { imageOf, type NamedImage, readOnlyRoot, type Root, writableRoot } from '../container/root.ts';
import { createProblem } from '../container/start-problem.ts';
import { Termination } from '../container/termination.ts';
import type { Disk, MakeDisk } from '../disks/disk.ts';
import { unmountAll } from '../disks/mounts.ts';
import type { Images } from '../images/images.ts';
import { saveCache } from '../caches/cache-layers.ts';
import { removeRoot, type RootRecord, UPPER, type WritableRoots } from '../rootfs/writable-root.ts';
import type { HostPackageLayers } from '../rootfs/package-layers.ts';
import { PodmanApiError, type PodmanClient } from '../service/http.ts';
import { type Evidence, parseEvidence, verdictOf, withLook } from './evidence.ts';
import { keepMachineView, type MachineSize, prepareMachineView } from './machine-view.ts';
import { withMirrors } from './mirrors.ts';
import { type Bind, bindOf, bindOver, directoriesOf, layMount, prepareMount } from './mounts.ts';
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
  /** Null on a host that can't have them. */
  readonly roots: WritableRoots | null;
  readonly mirrors: Pick<MirrorSource, 'current'>;
  /** Null without roots. */
  readonly packages: HostPackageLayers | null;
  readonly exits: ExitWatch;
  /** Of this machine; none where they can't be chosen. */
  readonly cores: readonly number[];
  /** Those of each job here. */
  readonly coresInUse: () => readonly (readonly number[])[];
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

interface Creating {
  readonly container: Container;
  readonly spec: LaunchSpec;
  readonly image: NamedImage;
  readonly roots: WritableRoots;
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
  /** The same for all that a container's start needs to be mounted. */
  #rootMade: Promise<void> | null = null;
  /** The files that show its programs how large the machine is. */
  #machine: readonly Bind[] = [];
  /** Holds its image, or finds it held; null when an earlier process saw to it. */
  #hold: (() => Promise<void>) | null = null;
  #evidence: Evidence | null = null;
  #termination: Termination | null = null;
  #brokenCaches: readonly CacheMount[] = [];

  constructor(parts: SandboxParts, paths: SandboxPaths, record: SandboxRecord, onDisposed: () => void) {
    this.id = record.id;
    this.#parts = parts;
    this.#paths = paths;
    this.#record = record;
    this.#onDisposed = onDisposed;
    this.#cgroup = record.cgroupParent === null ? null : parts.cgroups.at(record.cgroupParent);
    this.#container = record.bound === null ? null : this.#containerOf(record.bound.container);
    this.#disk = parts.disk(paths, () => void this.#endFailing());
  }

  get dispatch(): BoundDispatch | null {
    const { bound } = this.#record;
    return bound === null || bound.isBuild === true ? null : { jobId: bound.jobId, epoch: bound.epoch };
  }

  /** A job, or a build for one, is bound to it. */
  get isBound(): boolean {
    return this.#record.bound !== null;
  }

  /** What the host's disk holds of it, its spool included, and for which dispatch; null while it is nobody's. */
  get disk(): HeldDisk | null {
    const { bound } = this.#record;
    const spool = (statSync(this.#paths.spool, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
    return bound && { jobId: bound.jobId, epoch: bound.epoch, bytes: this.#disk.heldBytes() + spool };
  }

  get ranBy(): string | null {
    return this.#record.bound?.ranBy ?? null;
  }

  /** Cores that its job has, by the kernel while it runs: somebody may have changed them, or the record may be gone. */
  get cores(): readonly number[] {
    return this.#cgroup?.cores() ?? this.#record.bound?.cores ?? [];
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

  bind(spec: LaunchSpec): Promise<string> {
    return this.#bind(spec);
  }

  async #bind(given: LaunchSpec): Promise<string> {
    const { images, roots } = this.#parts;
    const image = this.#layered(await imageOf(images, given), given.layer);
    const mirrors = this.#parts.mirrors.current();
    const root =
      this.#record.isWritable === true && roots ? await roots.describe(given, image, mirrors) : null;
    const spec = withMirrors(given, mirrors, root === null ? 'mounted' : 'in its root');
    const container = this.#take(spec, root);
    try {
      return root && roots
        ? await this.#createOver(root, { container, spec, image, roots })
        : await this.#createReadOnly(container, spec, image);
    } catch (error) {
      if (!(error instanceof PodmanApiError)) throw error;
      images.forget(spec.image); // it may have been removed behind our back
      // Made by an earlier call whose answer was lost.
      const existing = await container.inspect();
      if (existing?.jobId === spec.jobId && existing.epoch === spec.epoch) {
        if (existing.phase !== 'created') return existing.id;
        // What was guessed of the image when it was made, nobody knows: once more from the beginning.
        await container.discard();
        return await this.#bind(given);
      }
      throw startFailed(createProblem(error.message), error);
    }
  }

  #layered(image: NamedImage, layer: string | undefined): NamedImage {
    if (layer === undefined) return image;
    const { packages } = this.#parts;
    if (packages === null || this.#record.isWritable !== true)
      throw startFailed('this host can lay nothing over an image');
    return packages.over(image, layer);
  }

  /** In a root file system of ours. @returns its id */
  async #createOver(record: RootRecord, { container, spec, image, roots }: Creating): Promise<string> {
    const { images } = this.#parts;
    // Both go on beside the container's creation; `start` awaits them.
    this.#hold = () => roots.hold(record, this.id);
    this.#hold().catch(() => undefined);
    void this.#rootReady().catch(() => undefined);
    let plan = planFor(images, spec, image);
    while (plan.unknown.length > 0) {
      for (const [path, isThere] of await roots.programs(image, plan.unknown))
        images.rememberProgram(image.digest, path, isThere);
      plan = planFor(images, spec, image);
    }
    this.#noteBound({ ranBy: plan.ranBy });
    const root = writableRoot(this.#paths.root, image, record.user);
    return await container.create(this.#createBody(spec, image, root, plan));
  }

  /**
   * Only a container of an image shows what is in it: the first is made by a guess, which is right for most, and once
   * more where it was not. What was seen is remembered by the image's digest. @returns its id
   */
  async #createReadOnly(container: Container, spec: LaunchSpec, image: NamedImage): Promise<string> {
    const { images, host } = this.#parts;
    const { digest } = image;
    // Podman wants to see them, and the disk would hide what is made before it.
    if (this.caches.length > 0) await this.#diskReady();
    for (const cache of this.caches) await layMount(this.#paths, cache, host.idBase);
    const root = readOnlyRoot(images, image, { isRoot: spec.root, obeysAnnotations: host.obeysAnnotations });
    const hasOwnFiles = this.#record.mounts.some(({ kind }) => kind === 'layered');
    for (let user = hasOwnFiles ? root.filesUid : 0; ;) {
      const guess = planFor(images, spec, image);
      this.#noteBound({ ranBy: guess.ranBy });
      const id = await container.create(
        this.#createBody(spec, image, { ...root, filesUid: user ?? 0 }, guess),
      );
      const named = user ?? (await container.userIdByName(image.user));
      for (const path of guess.unknown) images.rememberProgram(digest, path, await container.has(path));
      if (user === null) images.rememberUser(digest, named);
      const isRight = named === (user ?? 0) && guess.unknown.every((path) => images.hasProgram(digest, path));
      if (isRight) return id;
      user = named;
      await container.discard();
    }
  }

  /** Writes down for whom it is, and sets what holds for that job. */
  #take(spec: LaunchSpec, root: RootRecord | null): Container {
    const { jobId, epoch, cpus, memoryBytes, pidsLimit, isBuild = false } = spec;
    const limits = { cpus, memoryBytes, pidsLimit };
    const name = this.#nameFor(spec);
    const mounts = this.#mountsOf(spec);
    try {
      this.#record = {
        ...this.#record,
        mounts: mounts.filter(({ kind }) => kind !== 'files'),
        bound: { jobId, epoch, container: name, ...limits, cores: this.#cores(cpus), isBuild },
        ...(root === null ? {} : { root }),
      };
      writeRecord(this.#paths, this.#record);
      this.#cgroup?.limit(limits);
      const { host, roots } = this.#parts;
      if (root !== null) roots?.makePlace(this.#paths);
      const owner = host.idBase === null ? null : host.idBase + (root?.user.uid ?? 0);
      for (const mount of mounts) prepareMount(this.#paths, mount, owner);
      this.#machine = prepareMachineView(this.#paths.machine, this.#size());
    } catch (error) {
      throw startFailed(`could not make the job's sandbox: ${messageOf(error)}`, error);
    }
    return (this.#container ??= this.#containerOf(name));
  }

  /** One that is bound again may have its caches mounted: those that it was bound with stay. */
  #mountsOf(spec: LaunchSpec): Mount[] {
    const mounts = mergeMounts(this.#record.mounts, spec.mounts);
    if (!this.isBound) return mounts;
    return mounts.map((mount) =>
      mount.kind === 'cache' ? (this.caches.find(({ target }) => target === mount.target) ?? mount) : mount,
    );
  }

  /** The same once more for one that is bound again. */
  #cores(cpus: number): readonly number[] {
    const { cores, coresInUse } = this.#parts;
    return this.#record.bound?.cores ?? chooseCores(cores, coresInUse(), cpus);
  }

  #noteBound(facts: Pick<Binding, 'ranBy'>): void {
    const { bound } = this.#record;
    if (bound === null) return;
    this.#record = { ...this.#record, bound: { ...bound, ...facts } };
    writeRecord(this.#paths, this.#record);
  }

  #createBody(
    spec: LaunchSpec,
    image: NamedImage,
    root: Root,
    { argv, shell }: CommandPlan,
  ): ReturnType<typeof createBody> {
    const mounts = this.#mountsOf(spec);
    const isOurs = this.#record.root !== undefined;
    return createBody(spec, {
      host: this.#parts.host,
      name: this.#nameFor(spec),
      sandbox: this.id,
      root: root.body,
      binds: [
        ...mounts.flatMap((mount) => (isOurs ? bindOver(this.#paths, mount) : bindOf(this.#paths, mount))),
        ...this.#machine,
      ],
      spool: this.#paths.spool,
      cores: this.#record.bound?.cores ?? [],
      cgroupParent: this.#cgroup?.path ?? null,
      argv,
      env: environment({
        image: image.env,
        user: root.user,
        shell,
        defaults: spec.defaultEnv ?? {},
        own: spec.env,
      }),
      filesUid: root.filesUid ?? 0,
    });
  }

  async start(): Promise<void> {
    await this.#rootReady().catch((error: unknown) => {
      throw startFailed(`could not make the job's disk: ${messageOf(error)}`, error);
    });
    await this.#hold?.().catch((error: unknown) => {
      // Podman was away: the next call holds it anew.
      if (error instanceof FlashpodsError && error.code === 'container_error') throw error;
      throw startFailed(`could not hold the job's image: ${messageOf(error)}`, error);
    });
    // Without a user namespace of its own the job is who owns the pipes.
    await this.#bound().start({ open: this.#parts.host.idBase !== null, of: this.#cgroup });
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
    const memory = (): Memory | null => this.#cgroup?.memory() ?? null;
    const endView = keepMachineView(this.#paths.machine, this.#size(), memory);
    const state = await followToExit({ container, cgroup: this.#cgroup, exits, look, signal }).finally(
      endView,
    );
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
    this.#evidence = { ...this.#known, killedByUs: true };
    if (this.#cgroup === null) await this.#container?.signal('KILL');
    else await killAll(this.#cgroup, this.id);
    this.#keepEvidence(); // last: a full disk, which takes no note, may be what it is killed for
  }

  async verdict(): Promise<Verdict> {
    this.#look();
    await this.#examineDisk();
    this.#look(); // what it had not written out when it ended is counted now
    return verdictOf(this.#known, this.#record.bound);
  }

  async artifactsPath(): Promise<string> {
    const { diskBytes, root } = this.#record;
    if (root === undefined || this.#parts.roots === null) {
      if (diskBytes > 0) await this.#diskReady();
      return join(this.#paths.disk, root === undefined ? '' : UPPER, ARTIFACTS.directory);
    }
    // What a job has moved there out of its image, its own layer knows by name only.
    await this.#rootReady();
    return join(this.#paths.root, ARTIFACTS.target);
  }

  async workPath(): Promise<string> {
    const { diskBytes, mounts, root } = this.#record;
    const isOurs = root !== undefined && this.#parts.roots !== null;
    if (isOurs || diskBytes > 0) await this.#rootReady();
    const mount = mounts.find(({ target }) => target === WORK.target);
    if (mount === undefined) throw new Error(`${this.id} has no ${WORK.target}`);
    const [bound] = isOurs ? bindOver(this.#paths, mount) : [bindOf(this.#paths, mount)];
    return bound === undefined ? join(this.#paths.root, WORK.target) : bound.source;
  }

  async saveLayer(
    directory: string,
    makeRoom: (bytes: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<number> {
    const { roots } = this.#parts;
    if (roots === null || this.#record.root === undefined) throw new Error(`${this.id} has no layer to save`);
    return await roots.save(this.#paths, directory, makeRoom, signal);
  }

  get caches(): readonly CacheMount[] {
    return this.#record.mounts.filter((mount) => mount.kind === 'cache');
  }

  get brokenCaches(): readonly CacheMount[] {
    return this.#brokenCaches;
  }

  async saveCache(
    mount: CacheMount,
    directory: string,
    makeRoom: (weight: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<number | null> {
    await this.#diskReady();
    return await saveCache(this.#paths, mount, directory, makeRoom, signal);
  }

  async remove(): Promise<void> {
    // Podman takes the container's cgroup with it, and on v1 nothing else counted kills for memory.
    this.#look();
    this.#keepEvidence();
    await this.#container?.remove();
    if ((this.#cgroup?.processes().length ?? 0) > 0) await this.kill();
  }

  async dispose(): Promise<void> {
    await this.#rootMade?.catch(() => undefined);
    await this.#diskMade?.catch(() => undefined); // a disk is not taken away under the program that makes it
    if (this.#container?.isGone !== true) await this.remove();
    this.#termination?.cancel();
    // Of what is mounted in each other, the last first.
    await removeRoot(this.#paths);
    await unmountAll(this.#paths.directory);
    await this.#disk.remove();
    this.#parts.roots?.release(this.id);
    for (let tries = 0; this.#cgroup?.remove() === false; tries += 1) {
      if (tries === CGROUP_REMOVE_TRIES) throw new Error(`${this.id}: its cgroup is still busy`);
      await pause(CGROUP_REMOVE_EVERY_MS);
    }
    // Last: as long as the directory is there, the sandbox is found.
    rmSync(this.#paths.directory, { recursive: true, force: true });
    this.#diskMade = null;
    this.#rootMade = null;
    this.#onDisposed();
  }

  /** Ends what this process does for it; the sandbox stays. */
  readonly close = once(async () => {
    this.#termination?.cancel();
    this.#disk.close();
    await this.#rootMade?.catch(() => undefined);
    await this.#diskMade?.catch(() => undefined);
  });

  #size(): MachineSize {
    const { cores = [], memoryBytes = 0 } = this.#record.bound ?? {};
    return { cores, memoryBytes: this.#parts.host.limits.memory ? memoryBytes : null };
  }

  /** A job may be built for once more while the last build of a dead process is still there. */
  #nameFor({ jobId, epoch, isBuild = false }: LaunchSpec): string {
    return isBuild ? buildName(this.id) : containerName(jobId, epoch);
  }

  #containerOf(name: string): Container {
    return new Container(name, this.#parts.podman, this.#parts.logger, this.#parts.host.deploymentId);
  }

  #bound(): Container {
    if (this.#container === null) throw startFailed(`no job is bound to ${this.id}`);
    return this.#container;
  }

  /** The disk, made now if a crash left it unmade. */
  #diskReady(): Promise<void> {
    if (this.#diskMade) return this.#diskMade;
    const { diskBytes, mounts, isWritable } = this.#record;
    if (diskBytes === 0) return Promise.reject(new Error(`${this.id} was never provisioned`));
    const { roots } = this.#parts;
    const directories = isWritable === true && roots !== null ? roots.directories : directoriesOf(mounts);
    const made = this.#disk.make(diskBytes, directories);
    this.#diskMade = made;
    made.catch(() => (this.#diskMade = null)); // the next call tries again
    return made;
  }

  /** All that a job sees, mounted now if a boot has taken it away. */
  #rootReady(): Promise<void> {
    if (this.#rootMade) return this.#rootMade;
    const made = this.#diskReady().then(() => this.#mountRoot());
    this.#rootMade = made;
    made.catch(() => (this.#rootMade = null));
    return made;
  }

  async #mountRoot(): Promise<void> {
    const { mounts, root } = this.#record;
    const { roots } = this.#parts;
    if (root === undefined) {
      const owner = this.#parts.host.idBase;
      for (const mount of mounts) await layMount(this.#paths, mount, owner);
    } else if (roots === null)
      throw new Error('this host could mount a root for jobs before, and cannot now');
    else
      await roots.mount(this.#paths, root, mounts).catch(async (error: unknown) => {
        const warm = this.caches.filter(({ layers }) => layers.length > 0);
        if (warm.length === 0) throw error;
        this.#parts.logger.warn(
          { sandbox: this.id, reason: messageOf(error) },
          'a job starts with cold caches, since it could not be started with those that are here',
        );
        await this.#coolCaches(warm);
        await roots.mount(this.#paths, root, this.#record.mounts);
      });
  }

  /** A broken cache fails no job. */
  async #coolCaches(warm: readonly CacheMount[]): Promise<void> {
    for (const { directory } of warm) await unmountAll(join(this.#paths.directory, directory));
    const mounts = this.#record.mounts.map((mount) =>
      mount.kind === 'cache' ? { ...mount, layers: [] } : mount,
    );
    this.#record = { ...this.#record, mounts };
    writeRecord(this.#paths, this.#record);
    this.#brokenCaches = warm;
  }

  /** Notes whether writes were lost; then nobody believes what is on the disk, and its space goes first of all. */
  async #examineDisk(): Promise<void> {
    if (this.#known.diskError) return;
    const { logger } = this.#parts;
    const problem = await this.#disk.check();
    if (problem === null) return;
    logger.warn({ sandbox: this.id, reason: problem }, 'the disk of a job has lost writes');
    // Before its space goes, for a worker that comes after a crash: what is then on the disk looks sound. Where nothing
    // can be written, the space goes first.
    try {
      this.#note({ diskError: true });
      return await this.#discard();
    } catch {
      await this.#discard();
      this.#note({ diskError: true });
    }
  }

  async #discard(): Promise<void> {
    const { logger } = this.#parts;
    await this.#disk.discard().catch((error: unknown) => {
      logger.warn({ sandbox: this.id, reason: messageOf(error) }, 'could not discard a disk');
    });
  }

  async #endFailing(): Promise<void> {
    try {
      this.#look();
      await this.kill().finally(() => this.#examineDisk());
    } catch (error) {
      this.#parts.logger.warn(
        { sandbox: this.id, reason: messageOf(error) },
        'ending a job whose disk takes no more did not go well',
      );
    }
  }

  get #known(): Evidence {
    return (this.#evidence ??= parseEvidence(readJsonFile(this.#paths.evidence)));
  }

  #look(): void {
    this.#evidence = withLook(this.#known, this.#cgroup?.counters() ?? NO_COUNTERS, this.#disk.use());
  }

  #note(facts: Partial<Pick<Evidence, 'exitCode' | 'killedByUs' | 'diskError'>>): void {
    this.#evidence = { ...this.#known, ...facts };
    this.#keepEvidence();
  }

  #keepEvidence(): void {
    ifThere(() => writeJsonFile(this.#paths.evidence, this.#known), undefined); // unless it is disposed already
  }
}

const startFailed = (message: string, cause?: unknown): FlashpodsError =>
  new FlashpodsError('container_start_failed', message, { cause });
