/**
 * One more layer between an image and its job: the files by which what runs there trusts our certificates and fetches
 * from our mirrors (src/mirrors/files.ts). It is made once for an image with what is installed over it, a user and what
 * is set, and lies beside the sandboxes; an account for a registry may be in it.
 *
 * ```
 * <directory>/<key>       a layer; complete, with the owners that it has inside
 *             .<key>.new  one in the making
 * ```
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ifThere } from '../../../files/if-missing.ts';
import {
  type ImageLook,
  type Inhabitant,
  type MirrorFile,
  mirrorFiles,
  type Owner,
  placesToLookAt,
} from '../../../mirrors/files.ts';
import type { Mirrors } from '../../../mirrors/mirrors.ts';
import type { ImageConfig } from '../images/images.ts';
import type { ImageLayers } from './image-layers.ts';
import type { JobUser } from './job-user.ts';

/** Changes when what is made of the same settings changes. */
const VERSION = 1;
const ROOT: Owner = { mode: 0o755, uid: 0, gid: 0 };

export class MirrorLayers {
  readonly #directory: string;
  readonly #layers: ImageLayers;
  readonly #made = new Map<string, Promise<void>>();

  constructor(directory: string, layers: ImageLayers) {
    this.#directory = directory;
    this.#layers = layers;
  }

  /** The directory of the layer. @throws when the image can't be looked at, or the disk takes nothing */
  async of(image: ImageConfig, user: JobUser, mirrors: Mirrors): Promise<string> {
    const parts = [VERSION, image.id, lastLaidOver(image), user.home, user.uid, user.gid, mirrors.key];
    const key = createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
    const path = join(this.#directory, key);
    if (existsSync(path)) return path;
    const made = this.#made.get(key) ?? this.#make(path, image, user, mirrors);
    this.#made.set(key, made);
    try {
      await made;
    } finally {
      this.#made.delete(key);
    }
    return path;
  }

  /** Removes those that none of these roots is made of. */
  keep(used: readonly (readonly string[])[]): void {
    const names = new Set(
      used
        .flat()
        .filter((path) => dirname(path) === this.#directory)
        .map((path) => basename(path)),
    );
    for (const name of ifThere(() => readdirSync(this.#directory), []))
      if (!names.has(name)) rmSync(join(this.#directory, name), { recursive: true });
  }

  async #make(path: string, image: ImageConfig, user: JobUser, mirrors: Mirrors): Promise<void> {
    const who: Inhabitant = { home: user.home, env: image.env };
    const look = await this.#layers.lookAt(image, placesToLookAt(who));
    const made = join(this.#directory, `.${basename(path)}.new`);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    rmSync(made, { recursive: true, force: true });
    writeTree(made, mirrorFiles(mirrors, look, who), look, user);
    renameSync(made, path);
  }
}

/**
 * Packages over an image have the same id as it and other files, and may be installed anew in the same place.
 * @throws when the layer is gone
 */
function lastLaidOver({ layers: [last] }: ImageConfig): readonly unknown[] {
  if (last === undefined) return [];
  const { ino, ctimeMs } = statSync(last);
  return [last, ino, ctimeMs];
}

/** Directories are as the image has them: in an overlay those of the upper layer count. */
function writeTree(root: string, files: readonly MirrorFile[], look: ImageLook, user: JobUser): void {
  const ownerOf = (path: string): Owner => {
    const known = look.directories.get(path);
    if (known !== undefined) return known;
    const isAtHome = `${path}/`.startsWith(`${user.home}/`);
    return isAtHome ? { mode: 0o755, uid: user.uid, gid: user.gid } : ROOT;
  };
  const give = (path: string, { mode, uid, gid }: Owner): void => {
    chownSync(join(root, path), uid, gid);
    chmodSync(join(root, path), mode);
  };
  const make = (path: string): void => {
    if (statSync(join(root, path), { throwIfNoEntry: false })) return;
    if (path !== '/') make(dirname(path));
    mkdirSync(join(root, path), { mode: 0o700 });
    give(path, ownerOf(path));
  };
  make('/');
  for (const { path, content, mode } of files) {
    make(dirname(path));
    writeFileSync(join(root, path), content);
    const { uid, gid } = ownerOf(dirname(path));
    give(path, { mode, uid, gid });
  }
}
