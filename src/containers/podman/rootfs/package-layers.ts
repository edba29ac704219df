/**
 * {@link PackageLayers} in a directory of the host:
 *
 * ```
 * <directory>/<key>/layer        the layer, with the owners that it has inside of a container
 *                   about.json   what it is; its time is that of the last use
 *             .making-<key>-*    on its way, or left by a crash
 *             .gone-*            on its way out
 *             locks/             who makes what
 * ```
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';
import { FlashpodsError } from '../../../errors.ts';
import { ifThere } from '../../../files/if-missing.ts';
import { readJsonFile, writeJsonFile } from '../../../files/json-file.ts';
import { type Lock, LockHeld, takeLock } from '../../../files/lock.ts';
import type { HostImage } from '../../../images/image.ts';
import type { MirrorSource } from '../../../mirrors/mirrors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { removeTree } from '../../../trees/remove-tree.ts';
import type { PackageLayers, PackageSet, WantedLayer } from '../../package-layers.ts';
import type { Sandbox } from '../../sandbox.ts';
import { asContainerError } from '../container/container.ts';
import { localName } from '../container/root.ts';
import { command } from '../host/command.ts';
import type { ImageConfig, Images } from '../images/images.ts';
import { isRecord } from '../../../is-record.ts';
import type { ImageLayers } from './image-layers.ts';

const LAYER = 'layer';
const ABOUT = 'about.json';
const LOCKS = 'locks';
const KEY = /^[0-9a-f]{32}$/;
const MAKING = /^\.making-([0-9a-f]{32})-/;
const NEEDED = ['/bin/sh', '/usr/bin/apt-get', '/usr/bin/dpkg'];

/** Of a host's data. */
export const packagesBelow = (dataDir: string): string => join(dataDir, 'packages');

export interface PackageLayersOptions {
  readonly directory: string;
  readonly images: Images;
  readonly layers: ImageLayers;
  readonly mirrors: Pick<MirrorSource, 'current'>;
  /** What one owner may keep. */
  readonly ownerBytes: number;
  /** With less free on the disk, layers go first. */
  readonly minFreeBytes: number;
  /** Layers of the roots that there are, by what is written down. */
  readonly inUse: () => ReadonlySet<string>;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

/** What is written down of one. */
interface About extends Omit<WantedLayer, 'key'> {
  readonly sizeBytes: number;
}

interface Kept extends About {
  readonly key: string;
  readonly usedAtMs: number;
}

export class HostPackageLayers implements PackageLayers {
  readonly #o: PackageLayersOptions;
  /** How many jobs of this process are about to use one. */
  readonly #held = new Map<string, number>();

  constructor(options: PackageLayersOptions) {
    this.#o = options;
    mkdirSync(join(options.directory, LOCKS), { recursive: true, mode: 0o700 });
  }

  async want({ owner, image, packages }: PackageSet): Promise<WantedLayer> {
    const { images, mirrors } = this.#o;
    const name = await localName(images, image);
    const config = name === null ? null : images.configOf(name);
    if (config === null)
      throw new FlashpodsError('container_start_failed', `the image ${image} is not on this host`);
    const { id, digest } = config;
    const key = createHash('sha256')
      // What is installed may write the certificates that it trusts into files of its own.
      .update(JSON.stringify([owner, id, packages, mirrors.current()?.key ?? null]))
      .digest('hex')
      .slice(0, 32);
    return { owner, image, packages, key, imageId: id, digest };
  }

  hold({ key }: WantedLayer): (() => void) | null {
    const about = join(this.#o.directory, key, ABOUT);
    if (!existsSync(about)) return null;
    const now = new Date();
    utimesSync(about, now, now);
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (isHeld) this.#held.set(key, (this.#held.get(key) ?? 1) - 1);
      isHeld = false;
    };
  }

  claim({ key }: Pick<WantedLayer, 'key'>): (() => void) | null {
    const lock = this.#lock(key);
    return lock && (() => lock.release());
  }

  async refuseForeign({ image }: WantedLayer): Promise<void> {
    const { images, layers } = this.#o;
    const name = await localName(images, image);
    const config = name === null ? null : images.configOf(name);
    if (config === null) return; // what comes next says so
    const found = await layers.programsOf(config, NEEDED).catch((error: unknown) => {
      throw asContainerError(error);
    });
    const missing = found.flatMap(([path, isThere]) => (isThere ? [] : [path]));
    if (missing.length > 0)
      throw new FlashpodsError(
        'package_install_failed',
        `Packages are installed by apt, and the image ${image} has no ${missing.join(' and no ')}: choose an image that is a Debian or an Ubuntu.`,
      );
  }

  async keep(wanted: WantedLayer, build: Sandbox, signal: AbortSignal): Promise<void> {
    const { directory, ownerBytes } = this.#o;
    const { key, ...about } = wanted;
    const making = join(directory, `.making-${key}-${randomBytes(6).toString('hex')}`);
    try {
      mkdirSync(making, { mode: 0o700 });
      const sizeBytes = await build.saveLayer(
        join(making, LAYER),
        async (bytes) => {
          if (bytes > ownerBytes)
            throw new FlashpodsError(
              'package_install_failed',
              `The packages take ${inMb(bytes)} MB, and an owner may keep ${inMb(ownerBytes)} MB of them on a host (FLASHPODS_PACKAGE_IMAGES_MB).`,
            );
          await this.#makeRoom({ owner: wanted.owner, bytes });
        },
        signal,
      );
      writeJsonFile(join(making, ABOUT), { ...about, sizeBytes } satisfies About);
      await command('sync', '--file-system', making); // what a power cut leaves under its name is whole
      signal.throwIfAborted();
      // Another process of this host may have been first, if this one was taken for dead.
      if (!existsSync(join(directory, key))) renameSync(making, join(directory, key));
    } finally {
      await removeTree(making);
    }
  }

  list(): readonly HostImage[] {
    return keptBelow(this.#o.directory).map(({ image, digest, packages, sizeBytes, owner }) => ({
      reference: image,
      digest,
      sizeBytes,
      summary: null,
      versions: {},
      programs: null,
      owner,
      packages,
    }));
  }

  async trim(): Promise<void> {
    await this.#makeRoom({ owner: null, bytes: 0 });
    for (const name of readdirSync(this.#o.directory)) {
      const making = MAKING.exec(name)?.[1];
      const isLeft = name.startsWith('.gone-') || (making !== undefined && this.#isUnclaimed(making));
      if (isLeft) await removeTree(join(this.#o.directory, name));
    }
    const locks = join(this.#o.directory, LOCKS);
    for (const name of readdirSync(locks)) {
      const [key = ''] = name.split('.');
      if (existsSync(join(this.#o.directory, key)) || !this.#isUnclaimed(key)) continue;
      for (const end of ['lock', 'json']) rmSync(join(locks, `${key}.${end}`), { force: true });
    }
  }

  /** @returns false when one of them stays because it is in use */
  async remove(isIt: (layer: WantedLayer) => boolean): Promise<boolean> {
    let isAll = true;
    for (const layer of keptBelow(this.#o.directory).filter(isIt))
      isAll = (await this.#remove(layer.key)) && isAll;
    return isAll;
  }

  /** Where the layer is; it may be gone. */
  pathOf(key: string): string {
    if (!KEY.test(key)) throw new Error(`not the key of a layer: ${JSON.stringify(key)}`);
    return join(this.#o.directory, key, LAYER);
  }

  /** An image with a layer over it. Its digest is another one, because it has other programs. */
  over<Image extends ImageConfig>(image: Image, key: string): Image {
    return { ...image, digest: `${image.digest} ${key}`, layers: [this.pathOf(key), ...image.layers] };
  }

  /** Lets those go that were not used for longest. @param bytes that are about to be added for the owner */
  async #makeRoom({
    owner,
    bytes,
  }: {
    readonly owner: string | null;
    readonly bytes: number;
  }): Promise<void> {
    const { directory, ownerBytes, minFreeBytes, logger } = this.#o;
    const kept = keptBelow(directory).sort((a, b) => a.usedAtMs - b.usedAtMs);
    const totals = new Map<string, number>(owner === null ? [] : [[owner, bytes]]);
    for (const each of kept) totals.set(each.owner, (totals.get(each.owner) ?? 0) + each.sizeBytes);
    const isLow = (): boolean => {
      const { bavail, bsize } = statfsSync(directory);
      return bavail * bsize < minFreeBytes + bytes;
    };
    for (const { key, owner: whose, sizeBytes, packages } of kept) {
      const total = totals.get(whose) ?? 0;
      if ((total <= ownerBytes && !isLow()) || !(await this.#remove(key))) continue;
      totals.set(whose, total - sizeBytes);
      logger.info({ owner: whose, packages, bytes: sizeBytes }, 'installed packages went for others');
    }
  }

  /** @returns false when it is in use */
  async #remove(key: string): Promise<boolean> {
    const { directory, layers, inUse } = this.#o;
    if ((this.#held.get(key) ?? 0) > 0 || inUse().has(this.pathOf(key))) return false;
    const gone = join(directory, `.gone-${randomBytes(6).toString('hex')}`);
    // At once with the look: nobody can begin to use it in between.
    renameSync(join(directory, key), gone);
    await layers.forget(this.pathOf(key));
    await removeTree(gone);
    return true;
  }

  #lock(key: string): Lock | null {
    try {
      return takeLock(join(this.#o.directory, LOCKS, key));
    } catch (error) {
      if (error instanceof LockHeld) return null;
      throw error;
    }
  }

  #isUnclaimed(key: string): boolean {
    const lock = this.#lock(key);
    lock?.release();
    return lock !== null;
  }
}

/** Those in a directory, also where nothing was ever kept. */
export const keptBelow = (directory: string): Kept[] =>
  ifThere(() => readdirSync(directory), [])
    .filter((name) => KEY.test(name))
    .flatMap((key): Kept[] => {
      const path = join(directory, key, ABOUT);
      const about = readJsonFile(path);
      const usedAtMs = ifThere(() => statSync(path).mtimeMs, 0);
      return isRecord(about) ? [{ ...(about as unknown as About), key, usedAtMs }] : [];
    });

const inMb = (bytes: number): number => Math.ceil(bytes / 2 ** 20);
