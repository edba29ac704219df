/**
 * The layers of images with the owners that they have for a job: each is mapped once a host and stays so while a job
 * uses it. An overlay keeps its layers by itself, so these mounts may go and come at any time; a reboot takes them all.
 *
 * ```
 * <directory>/<name>      a layer, mounted read-only
 *             .nothing    an empty layer
 *             .view       where an image is put together to look at it; never seen from outside of the looking process
 *             .lock
 * ```
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../../../errors.ts';
import { ID_RANGE_SIZE } from '../container/job-user.ts';
import type { ImageLook, Owner, Place } from '../../../mirrors/files.ts';
import { mountsBelow, unmountAll } from '../disks/mounts.ts';
import type { ImageConfig } from '../images/images.ts';
import type { ImageUsers } from './job-user.ts';
import { doSteps, ids, type Step } from './mounting.ts';

const NOTHING = '.nothing';
const BASH = '/bin/bash';

export class ImageLayers {
  readonly directory: string;
  readonly #idBase: number;
  /** By layers. */
  readonly #users = new Map<string, Promise<ImageUsers>>();
  /** Layers are being taken away: what is mapped may not be so for long. */
  #isDropping = false;
  /** One process at a time, so that no layer is mapped twice. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(directory: string, idBase: number) {
    this.directory = directory;
    this.#idBase = idBase;
  }

  /** What the image says of its users; looked up once. @throws when its layers can't be mapped */
  usersOf(image: ImageConfig): Promise<ImageUsers> {
    const key = image.layers.join('\n');
    const known = this.#users.get(key);
    if (known !== undefined) return known;
    const users = this.#inTurn(() => this.#lookForUsers(image));
    this.#users.set(key, users);
    users.catch(() => this.#users.delete(key)); // the next job tries again
    return users;
  }

  /**
   * Maps those that are not.
   * @param layers their directories in Podman's storage; where not all have to be there, one that is gone is left out
   * @returns what `lowerdir` says of them, relative to {@link directory}
   */
  async map(layers: readonly string[], { isWhole }: { readonly isWhole: boolean }): Promise<string> {
    if (isWhole && layers.some((layer) => inode(layer) === null)) throw new Error('the image was removed');
    const missing = (): string[] => layers.filter((layer) => inode(layer) !== null && !this.#isMapped(layer));
    if (this.#isDropping || missing().length > 0 || !existsSync(join(this.directory, NOTHING)))
      await this.#inTurn(async () => {
        for (const layer of missing()) await unmountAll(this.#place(layer)); // of an image that was here before
        await doSteps(this.#mapping(missing()));
      });
    return lowerOf(layers.filter((layer) => this.#isMapped(layer))) || NOTHING;
  }

  /** Takes away the mount of a layer that is about to be deleted; no sandbox has it. */
  async forget(layer: string): Promise<void> {
    await this.#inTurn(() => this.#drop(nameOf(layer)));
    for (const key of this.#users.keys()) if (key.split('\n').includes(layer)) this.#users.delete(key);
  }

  /**
   * Takes away the mounts of layers that are not used.
   * @param used asked again for each layer, since jobs come meanwhile: the layers of an image are used from before they
   *   are mapped for a job
   */
  async keep(used: () => readonly (readonly string[])[]): Promise<void> {
    await this.#inTurn(async () => {
      this.#isDropping = true;
      try {
        for (const name of this.#names()) {
          if (!used().flat().map(nameOf).includes(name)) await this.#drop(name);
        }
      } finally {
        this.#isDropping = false;
      }
    });
  }

  async #drop(name: string): Promise<void> {
    const place = join(this.directory, name);
    if (!existsSync(place)) return;
    await unmountAll(place);
    rmdirSync(place);
  }

  /** By name and not by what is mounted: a crash may come between the two. */
  #names(): string[] {
    try {
      return readdirSync(this.directory).filter((name) => /^[0-9a-f]{16}$/.test(name));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  /** Which of these programs the image has. @throws when its layers can't be mapped */
  programsOf(image: ImageConfig, paths: readonly string[]): Promise<(readonly [string, boolean])[]> {
    return this.#inTurn(async () => {
      const shown = await this.#look(
        image,
        paths.map((path): Step => ['has', path]),
      );
      const lines = shown.split('\n');
      return paths.map((path, at) => [path, lines[at] === '1'] as const);
    });
  }

  /**
   * What the image has at these places.
   * @param patterns as a shell has them
   * @throws when its layers can't be mapped
   */
  lookAt(image: ImageConfig, patterns: readonly string[]): Promise<ImageLook> {
    return this.#inTurn(async () => {
      const shown = await this.#look(
        image,
        patterns.map((pattern): Step => ['look', pattern]),
      );
      return readLook(shown, patterns, this.#idBase);
    });
  }

  async #lookForUsers(image: ImageConfig): Promise<ImageUsers> {
    const shown = await this.#look(image, [
      ['show', '/etc/passwd'],
      ['show', '/etc/group'],
      ['has', BASH],
      ['homes'],
    ]);
    return readUsers(shown, this.#idBase);
  }

  /** @param questions asked where nobody else sees the image, and where no link of it leads out */
  #look(image: ImageConfig, questions: readonly Step[]): Promise<string> {
    return doSteps([
      ...this.#mapping(image.layers.filter((layer) => !this.#isMapped(layer))),
      ['private'],
      ['chdir', this.directory],
      // To read only it has to be made of two layers at least.
      ['overlay', '.view', `${lowerOf(image.layers)}:${NOTHING}`, '', '', 'on'],
      ['enter', '.view'],
      ...questions,
    ]);
  }

  #mapping(layers: readonly string[]): Step[] {
    for (const name of ['.view', NOTHING])
      mkdirSync(join(this.directory, name), { recursive: true, mode: 0o700 });
    const map = ids(0, this.#idBase, ID_RANGE_SIZE);
    return [
      ['lock', join(this.directory, '.lock')],
      ...layers.map((layer): Step => ['map', layer, this.#place(layer), 'ro', map, map]),
    ];
  }

  #place(layer: string): string {
    return join(this.directory, nameOf(layer));
  }

  /** An image that was removed and is here again has other directories under the same names. */
  #isMapped(layer: string): boolean {
    const place = this.#place(layer);
    return inode(place) === inode(layer) && mountsBelow(place).length > 0;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

/** Short, because the kernel takes one page for all layers of an overlay. */
const nameOf = (layer: string): string => createHash('sha256').update(layer).digest('hex').slice(0, 16);

const lowerOf = (layers: readonly string[]): string => layers.map(nameOf).join(':');

function inode(path: string): string | null {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? null : `${stat.dev}:${stat.ino}`;
}

/** @param shown by `show`, `show`, `has`, `homes` */
function readUsers(shown: string, idBase: number): ImageUsers {
  const [passwd = '', group = '', bash, ...lines] = shown.split('\n');
  const homes = lines.flatMap((line): [string, number][] => {
    const [, owner, path] = /^(\d+) (.*)$/.exec(line) ?? [];
    return owner !== undefined && path !== undefined ? [[path, Number(owner) - idBase]] : [];
  });
  const text = (hex: string): string => Buffer.from(hex, 'hex').toString('utf8');
  return {
    passwd: text(passwd),
    group: text(group),
    homes: new Map(homes),
    bash: bash === '1' ? BASH : null,
  };
}

/** @param shown by one `look` a pattern */
function readLook(shown: string, patterns: readonly string[], idBase: number): ImageLook {
  const places = new Map<string, Place[]>(patterns.map((pattern) => [pattern, []]));
  const directories = new Map<string, Owner>();
  let at = 0;
  for (const line of shown.split('\n')) {
    const [kind, ...words] = line.split(' ');
    if (kind === '.') at += 1;
    else if (kind === 'directory') {
      const [mode = '', uid, gid, path = ''] = words;
      directories.set(path, {
        mode: Number.parseInt(mode, 8),
        uid: Number(uid) - idBase,
        gid: Number(gid) - idBase,
      });
    } else if (kind === 'place') {
      const [path = '', hex = ''] = words;
      const content = hex === '-' ? null : Buffer.from(hex === '=' ? '' : hex, 'hex');
      places.get(patterns[at] ?? '')?.push({ path, content });
    }
  }
  return { places, directories };
}
