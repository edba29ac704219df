/**
 * What a host has written down of its caches:
 *
 * ```
 * <directory>/layers/<id>         a layer; whole, and never changed. Several caches may have it
 *             .making-*           one on its way, or left by a crash
 *             .gone-*             one on its way out
 *             <key>/about.json    the cache: its layers and who wrote it. Replaced as a whole
 *                   used.json     hits, and when the last one was
 *                   absent.json   why there is none any more
 *                   removed.json  when somebody removed it last
 * ```
 */
import { createHash, randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { CacheKey, HostCache } from '../../../caches/cache.ts';
import { ifThere } from '../../../files/if-missing.ts';
import { readJsonFile, writeJsonFile } from '../../../files/json-file.ts';
import { isRecord } from '../../../is-record.ts';

export interface Layer {
  readonly id: string;
  readonly weight: number;
}

/** What is written down of one. */
export interface About extends CacheKey {
  /** The uppermost first. */
  readonly layers: readonly Layer[];
  readonly path: string;
  readonly writtenAt: number;
  readonly writtenBy: string;
}

interface Use {
  readonly hits: number;
  readonly usedAt: number;
}

/** Why it is cold. */
export interface Absence {
  readonly why: 'evicted' | 'removed' | 'too large' | 'broken';
  readonly at: number;
}

const KEY = /^[0-9a-f]{32}$/;
const LAYER = /^[0-9a-f]{24}$/;
/** Longer, nobody asks why. */
const ABSENCES_DAYS = 30;
const MOST_ABSENCES = 1_000;

export const weigh = ({ layers }: About): number => layers.reduce((sum, { weight }) => sum + weight, 0);

export class CacheStore {
  readonly #directory: string;
  readonly #layers: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.#layers = join(directory, 'layers');
    mkdirSync(this.#layers, { recursive: true, mode: 0o700 });
  }

  /** @returns null also for one whose layers are not all there, which is forgotten */
  read(key: CacheKey): About | null {
    const about = this.#about(nameOf(key));
    if (about === null) return null;
    if (about.layers.every(({ id }) => this.hasLayer(id))) return about;
    this.forget(about, 'broken');
    return null;
  }

  hasLayer(id: string): boolean {
    return LAYER.test(id) && lstatSync(this.layerPath(id), { throwIfNoEntry: false })?.isDirectory() === true;
  }

  all(): About[] {
    return this.#names().flatMap((name) => this.#about(name) ?? []);
  }

  layerPath(id: string): string {
    return join(this.#layers, id);
  }

  /** Where a new one is made. */
  draft(): { readonly id: string; readonly path: string } {
    const id = randomBytes(12).toString('hex');
    return { id, path: join(this.#layers, `.making-${id}`) };
  }

  /** A layer is done. */
  keep({ id, path }: { readonly id: string; readonly path: string }): void {
    renameSync(path, this.layerPath(id));
  }

  write(about: About): void {
    const place = join(this.#directory, nameOf(about));
    mkdirSync(place, { recursive: true, mode: 0o700 });
    writeJsonFile(join(place, 'about.json'), about);
    rmSync(join(place, 'absent.json'), { force: true });
  }

  forget(key: CacheKey, why: Absence['why'], at = Date.now()): void {
    const place = join(this.#directory, nameOf(key));
    this.noteAbsent(key, why, at);
    for (const file of ['about.json', 'used.json']) rmSync(join(place, file), { force: true });
  }

  noteAbsent(key: CacheKey, why: Absence['why'], at = Date.now()): void {
    const place = join(this.#directory, nameOf(key));
    mkdirSync(place, { recursive: true, mode: 0o700 });
    writeJsonFile(join(place, 'absent.json'), { why, at } satisfies Absence);
  }

  /** Somebody does not want it. */
  remove(key: CacheKey, at = Date.now()): void {
    this.forget(key, 'removed', at);
    writeJsonFile(join(this.#directory, nameOf(key), 'removed.json'), at);
  }

  /** Milliseconds since the Unix epoch; 0 for never. */
  removedAt(key: CacheKey): number {
    const at = readJsonFile(join(this.#directory, nameOf(key), 'removed.json'));
    return typeof at === 'number' ? at : 0;
  }

  absence(key: CacheKey): Absence | null {
    const said = readJsonFile(join(this.#directory, nameOf(key), 'absent.json'));
    return isRecord(said) ? (said as unknown as Absence) : null;
  }

  use(key: CacheKey): Use {
    const said = readJsonFile(join(this.#directory, nameOf(key), 'used.json'));
    return isRecord(said) ? (said as unknown as Use) : { hits: 0, usedAt: 0 };
  }

  /** One more has found it. */
  hit(key: CacheKey, usedAt = Date.now()): void {
    const use: Use = { hits: this.use(key).hits + 1, usedAt };
    writeJsonFile(join(this.#directory, nameOf(key), 'used.json'), use);
  }

  /** Since when nobody has read or written it. */
  lastUse(about: About): number {
    return Math.max(this.use(about).usedAt, about.writtenAt);
  }

  describe(about: About): HostCache {
    const { owner, name, scope, path, writtenAt, writtenBy } = about;
    const { hits } = this.use(about);
    const sizeBytes = weigh(about);
    return { owner, name, scope, path, sizeBytes, writtenAt, writtenBy, usedAt: this.lastUse(about), hits };
  }

  /** Layers, finished or not, and what is on its way out, by their names. */
  layerNames(): { readonly whole: string[]; readonly others: string[] } {
    const names = readdirSync(this.#layers);
    return {
      whole: names.filter((name) => LAYER.test(name)),
      others: names.filter((name) => name.startsWith('.')),
    };
  }

  /** At once out of sight. @returns what is to be deleted */
  takeAway(name: string): string {
    const gone = join(this.#layers, `.gone-${randomBytes(6).toString('hex')}`);
    renameSync(join(this.#layers, name), gone);
    return gone;
  }

  /** Forgets of what is not there any more, the oldest first. */
  trimAbsences(now = Date.now()): void {
    const told = this.#names()
      .flatMap((name) => {
        if (this.#about(name) !== null) return [];
        const said = readJsonFile(join(this.#directory, name, 'absent.json'));
        return [{ name, at: isRecord(said) ? Number(said['at']) : 0 }];
      })
      .sort((a, b) => b.at - a.at);
    for (const [index, { name, at }] of told.entries())
      if (index >= MOST_ABSENCES || now - at > ABSENCES_DAYS * 86_400_000)
        rmSync(join(this.#directory, name), { recursive: true, force: true });
  }

  #names(): string[] {
    return ifThere(() => readdirSync(this.#directory), []).filter((name) => KEY.test(name));
  }

  #about(name: string): About | null {
    const about = readJsonFile(join(this.#directory, name, 'about.json'));
    return isRecord(about) && Array.isArray(about['layers']) ? (about as unknown as About) : null;
  }
}

const nameOf = ({ owner, name, scope }: CacheKey): string =>
  createHash('sha256')
    .update(JSON.stringify([owner, name, scope]))
    .digest('hex')
    .slice(0, 32);
