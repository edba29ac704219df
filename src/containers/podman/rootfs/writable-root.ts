/**
 * The root file system of a job as one overlay of ours, given to Podman as `rootfs`: over the layers of the image, with
 * the owners that they have for the job, lies the upload if the job may write to it, and over both a layer on the job's
 * own disk. All that a job may write lies in this one file system, so that `rename` and `link` work between any two
 * places of it, its disk bounds all of it, and nothing reaches the image or the upload.
 */
import { chownSync, existsSync, mkdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FlashpodsError, messageOf, systemCode } from '../../../errors.ts';
import { ARTIFACTS, type Mount } from '../../mounts.ts';
import type { LaunchSpec } from '../../sandbox.ts';
import type { DiskDirectory } from '../disks/disk.ts';
import { unmountAll } from '../disks/mounts.ts';
import { command, longCommand } from '../host/command.ts';
import type { ImageConfig } from '../images/images.ts';
import type { SandboxRecord } from '../sandbox/record.ts';
import type { SandboxPaths } from '../sandbox/paths.ts';
import type { Mirrors } from '../../../mirrors/mirrors.ts';
import { cachePlaces, cacheSteps } from '../caches/cache-layers.ts';
import type { ImageHolds } from './image-holds.ts';
import type { ImageLayers } from './image-layers.ts';
import { jobUser, type JobUser } from './job-user.ts';
import type { MirrorLayers } from './mirror-layers.ts';
import { doSteps, ids, type Step } from './mounting.ts';
import { ID_RANGE_SIZE } from '../container/job-user.ts';

/** What has to be known of a root to mount it again. */
export interface RootRecord {
  /** Id of the image. */
  readonly image: string;
  /** Directories of its layers, the uppermost first: that of our mirrors, and those in Podman's storage. */
  readonly layers: readonly string[];
  readonly user: JobUser;
}

/** At the root of a job's disk: the job's own layer. */
export const UPPER = 'upper';
const WORK = 'wk';
/** Where the OCI runtime mounts; it refuses links. */
const KERNEL_PLACES = ['/proc', '/sys', '/dev'];
/** Files that Podman puts there. */
const ENGINE_FILES = ['/etc/hosts', '/etc/hostname', '/etc/resolv.conf'];
/** Below the sandbox: the upload, while the overlay is made of it. */
const LAYER = 'layer';

const SAVED = 'saved';
/** What belongs to one container: its mounts, what we put into its root, and what Podman does. */
const NOT_SAVED = [
  ...['/work', '/artifacts', '/tmp', '/var/tmp', '/dev', '/proc', '/sys', '/run/flashpods'],
  ...['/run/.containerenv', '/etc/hosts', '/etc/hostname', '/etc/resolv.conf', '/etc/mtab'],
];

export interface RootParts {
  readonly layers: ImageLayers;
  readonly holds: ImageHolds;
  readonly mirrors: MirrorLayers;
  readonly idBase: number;
}

export class WritableRoots {
  readonly #layers: ImageLayers;
  readonly #holds: ImageHolds;
  readonly #mirrors: MirrorLayers;
  readonly #idBase: number;

  /** Layers of the images that were held, and those that were laid over them, by the image's id. */
  readonly #layersOf = new Map<string, readonly string[]>();

  constructor({ layers, holds, mirrors, idBase }: RootParts) {
    this.#layers = layers;
    this.#holds = holds;
    this.#mirrors = mirrors;
    this.#idBase = idBase;
    // A failure leaves them to the next time.
    holds.onLetGo = () => void this.#layers.keep(() => this.#used()).catch(() => undefined);
  }

  #used(): (readonly string[])[] {
    return [...this.#holds.inUse()].flatMap((image) => {
      const layers = this.#layersOf.get(image);
      return layers === undefined ? [] : [layers];
    });
  }

  /** What has to be on a job's disk from its beginning. */
  readonly directories: readonly DiskDirectory[] = [
    { name: UPPER, mode: 0o755 },
    { name: WORK, mode: 0o700 },
  ];

  /** @throws FlashpodsError container_start_failed when the image has not what it needs */
  async describe(
    spec: Pick<LaunchSpec, 'root'>,
    image: ImageConfig,
    mirrors: Mirrors | null,
  ): Promise<RootRecord> {
    try {
      const users = await this.#layers.usersOf(image);
      const user = jobUser(image.user, users, spec.root);
      const ours = mirrors === null ? [] : [await this.#mirrors.of(image, user, mirrors)];
      return { image: image.id, layers: [...ours, ...image.layers], user };
    } catch (error) {
      if (error instanceof FlashpodsError) throw error;
      throw unreadable(error);
    }
  }

  /**
   * Takes over what earlier processes left: holds the images of sandboxes, and nothing else of what they held.
   * @throws when Podman does not answer
   */
  async takeOver(records: readonly SandboxRecord[]): Promise<void> {
    const used = records.flatMap(({ id, root }) => {
      if (root !== undefined) this.#noteLayers(root);
      return root === undefined ? [] : [{ image: root.image, sandbox: id }];
    });
    await this.#holds.takeOver(used);
    await this.#layers.keep(() => this.#used());
    this.#mirrors.keep(records.flatMap(({ root }) => (root === undefined ? [] : [root.layers])));
  }

  /** Lets go at once of an image that no root is made of. @param image id @throws when Podman does not answer */
  async letGoIdle(image: string): Promise<void> {
    await this.#holds.letGoIdle(image);
  }

  /** Roots stay, and so do the holds of images that jobs use. Layers are mapped again by who needs them. */
  async close(): Promise<void> {
    await this.#holds.close();
    await this.#layers.keep(() => []);
  }

  /** Which of these programs the image has. @throws FlashpodsError container_start_failed */
  async programs(image: ImageConfig, paths: readonly string[]): Promise<(readonly [string, boolean])[]> {
    return await this.#layers.programsOf(image, paths).catch((error: unknown) => {
      throw unreadable(error);
    });
  }

  /** The image stays until {@link release}. */
  hold({ image, layers }: RootRecord, sandbox: string): Promise<void> {
    this.#noteLayers({ image, layers });
    return this.#holds.hold(image, sandbox);
  }

  /** One job of an image may have packages over it, and the next one others or none. */
  #noteLayers({ image, layers }: Pick<RootRecord, 'image' | 'layers'>): void {
    this.#layersOf.set(image, [...new Set([...(this.#layersOf.get(image) ?? []), ...layers])]);
  }

  release(sandbox: string): void {
    this.#holds.release(sandbox);
  }

  /** Podman wants to see it when it creates the container, which may be before it is mounted. */
  makePlace({ root, rootPlace }: SandboxPaths): void {
    mkdirSync(dirname(rootPlace), { recursive: true, mode: 0o711 });
    mkdirSync(rootPlace, { recursive: true, mode: 0o700 });
    chownSync(rootPlace, this.#idBase, this.#idBase);
    mkdirSync(root, { recursive: true });
  }

  /**
   * Mounts it and, the first time, puts into it what the image lacks; the job's disk must be there. Idempotent; a root
   * in which a job may have run is only mounted.
   * @param mounts of the sandbox
   */
  async mount(paths: SandboxPaths, record: RootRecord, mounts: readonly Mount[]): Promise<void> {
    try {
      await this.#mount(paths, record, mounts);
    } catch {
      // Layers may have gone between the look at them and their use.
      await this.#mount(paths, record, mounts);
    }
  }

  /** See `Sandbox.saveLayer`. The layer has the owners of the container's inside, as those of images have. */
  async save(
    paths: SandboxPaths,
    target: string,
    makeRoom: (bytes: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<number> {
    await removeRoot(paths);
    const upper = join(paths.disk, UPPER);
    // Inside of it, since a link of the image may lead anywhere.
    await doSteps([['enter', upper], ...NOT_SAVED.map((path): Step => ['drop', path])]);
    const measured = await longCommand(signal, 'du', '--summarize', '--block-size=1', '--', upper);
    const bytes = Number(measured.split('\t')[0]);
    await makeRoom(bytes);
    const mapped = join(paths.directory, SAVED);
    const map = ids(this.#idBase, 0, ID_RANGE_SIZE);
    await doSteps([['map', upper, mapped, 'ro', map, map]]);
    try {
      mkdirSync(target);
      await longCommand(signal, 'cp', '--archive', '--', `${mapped}/.`, target);
    } finally {
      await unmountAll(mapped);
    }
    return bytes;
  }

  async #mount(paths: SandboxPaths, record: RootRecord, mounts: readonly Mount[]): Promise<void> {
    this.makePlace(paths); // a boot has taken it away
    const isFurnished = existsSync(paths.rootMark);
    // What a job that has ended left is there also when its image is gone.
    const lower = await this.#layers.map(record.layers, { isWhole: !isFurnished });
    await doSteps([
      ['lock', join(paths.directory, 'root.lock')],
      ['until', paths.root, paths.rootMark],
      ['ids', this.#idBase],
      ...(isFurnished ? [] : this.#placesUnder(paths, record, mounts)),
      ...this.#assembling(paths, record, mounts, lower),
      ...(isFurnished ? [] : this.#furnishing(paths, record, mounts)),
    ]);
    // Before the container starts: what a job has changed is not furnished again.
    if (!isFurnished) writeFileSync(paths.rootMark, '');
  }

  /** What hides something of the image has to be there before the overlay looks at it. */
  #placesUnder({ disk }: SandboxPaths, { user }: RootRecord, mounts: readonly Mount[]): Step[] {
    const [uid, gid] = [this.#idBase + user.uid, this.#idBase + user.gid];
    const places = [
      ARTIFACTS.target,
      ...mounts.flatMap((mount) => (isEmptyWork(mount) ? [mount.target] : [])),
    ];
    return places.flatMap((target): Step[] => {
      const place = join(disk, UPPER, target);
      return [
        ['give', place, '755', uid, gid],
        ['opaque', place],
      ];
    });
  }

  #assembling(paths: SandboxPaths, record: RootRecord, mounts: readonly Mount[], lower: string): Step[] {
    const mapped = (source: string): [string, string] => this.#mapOf(source, record.user);
    const upload = mounts.find((mount) => mount.kind === 'layered')?.source ?? null;
    const layer = join(paths.directory, LAYER);
    const overlay = (lowers: string): Step => [
      'overlay',
      paths.root,
      lowers,
      join(paths.disk, UPPER),
      join(paths.disk, WORK),
      'on',
    ];
    const uploads = mounts.flatMap((mount): Step[] =>
      mount.kind === 'snapshot' && mount.source !== null
        ? [['map', mount.source, join(paths.directory, mount.directory), 'ro', ...mapped(mount.source)]]
        : [],
    );
    if (upload !== null && basename(upload) !== 'work')
      throw new Error(`${upload} can be no layer: only a directory named work becomes /work`);
    const caches = cacheSteps(paths, mounts, { ...record.user, idBase: this.#idBase });
    if (upload === null) return [...uploads, ...caches, ['chdir', this.#layers.directory], overlay(lower)];
    return [
      ...uploads,
      ...caches,
      ['opaque', upload],
      ['map', dirname(upload), layer, 'ro', ...mapped(upload)],
      ['chdir', this.#layers.directory],
      overlay(`${layer.replace(/[\\:,]/g, '\\$&')}:${lower}`),
      ['unmount', layer], // the overlay has it by itself
    ];
  }

  /** Done inside of the root, where a link of the image leads nowhere else. */
  #furnishing(paths: SandboxPaths, { user }: RootRecord, mounts: readonly Mount[]): Step[] {
    const root = this.#idBase;
    const bound = mounts.filter(({ kind }) => kind === 'snapshot' || kind === 'files');
    const lines = [
      ['/etc/passwd', user.passwdLine],
      ['/etc/group', user.groupLine],
    ] as const;
    return [
      ['enter', paths.root],
      // Podman and the OCI runtime mount there. What they make where something is missing belongs to the host's root.
      ...[...KERNEL_PLACES, ...bound.map(({ target }) => target)].map((place): Step => ['plain', place]),
      ['furnish', '/run', '+555', '-', '-'],
      ['furnish', '/etc', '+555', '-', '-'],
      ...ENGINE_FILES.map((file): Step => ['file', file]),
      ['furnish', '/tmp', '1777', root, root],
      ['furnish', '/var/tmp', '1777', root, root],
      ['furnish', user.home, '+700', root + user.uid, root + user.gid],
      ...cachePlaces(mounts, user, root),
      ...lines.flatMap(([file, line]): Step[] => (line === null ? [] : [['entry', file, line]])),
    ];
  }

  /** No matter who has the tree on the disk, it belongs to the job's user in there. */
  #mapOf(source: string, user: JobUser): [string, string] {
    const { uid, gid } = statSync(source);
    return [ids(uid, this.#idBase + user.uid, 1), ids(gid, this.#idBase + user.gid, 1)];
  }
}

/** Idempotent; the job's disk and its upload are under it and come after it. */
export async function removeRoot({ root, rootPlace }: SandboxPaths): Promise<void> {
  await unmountAll(root);
  if (!existsSync(rootPlace)) return;
  try {
    for (const directory of [root, rootPlace]) if (existsSync(directory)) rmdirSync(directory);
  } catch (error) {
    if (systemCode(error) !== 'ENOTEMPTY') throw error;
    // A start that was tried before anything was mounted there. Never into a mount: that would be the image.
    await command('rm', '-rf', '--one-file-system', '--', rootPlace);
  }
}

const isEmptyWork = (mount: Mount): boolean => mount.kind === 'layered' && mount.source === null;

const unreadable = (error: unknown): FlashpodsError =>
  new FlashpodsError('container_start_failed', `could not read the image: ${messageOf(error)}`, {
    cause: error,
  });
