/** {@link Caches} in a directory of the host. One process at a time acts on it: the worker of the host. */
import { statfsSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type CacheKey,
  type CacheRemoval,
  DEFAULT_SCOPE,
  type HostCache,
  isMeant,
} from '../../../caches/cache.ts';
import { messageOf } from '../../../errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import type { Caches, OpenCache, Writing } from '../../caches.ts';
import type { CacheMount } from '../../mounts.ts';
import type { Sandbox } from '../../sandbox.ts';
import { humbly, weightOf } from './cache-layers.ts';
import { type About, type Absence, CacheStore, type Layer, weigh } from './cache-store.ts';

/** More of them make a lookup slow, and the kernel takes one page of names for all. */
const MAX_LAYERS = 8;

const FLATTEN = fileURLToPath(new URL('./flatten.pl', import.meta.url));

export interface HostCachesOptions {
  readonly directory: string;
  /** What one owner may keep. */
  readonly ownerBytes: number;
  /** With less free on the disk, caches go first. */
  readonly minFreeBytes: number;
  /** Layers that sandboxes have, by what is written down. */
  readonly inUse: () => ReadonlySet<string>;
  /** Deletes a tree that a job made. */
  readonly removeTree: (path: string) => Promise<void>;
  /** Returns when all that was written below this path survives a power cut. */
  readonly sync: (path: string) => Promise<void>;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

/** It is more than an owner may keep, or than the disk takes: nothing is kept of it. */
class TooLarge extends Error {}

export class HostCaches implements Caches {
  readonly #o: HostCachesOptions;
  readonly #store: CacheStore;
  /** How many jobs of this process are about to use a layer, by its path. */
  readonly #held = new Map<string, number>();
  /** Layers that this process makes. */
  readonly #making = new Set<string>();
  /** One at a time is published: of two jobs that wrote the same, the later one is on top of what it found. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: HostCachesOptions) {
    this.#o = options;
    this.#store = new CacheStore(options.directory);
  }

  open(key: CacheKey): OpenCache {
    const own = this.#tryRead(key);
    const found = own ?? this.#tryRead({ ...key, scope: DEFAULT_SCOPE });
    if (found === null) return cold(this.#notice(key));
    const layers = found.layers.map(({ id }) => this.#store.layerPath(id));
    for (const layer of layers) this.#held.set(layer, (this.#held.get(layer) ?? 0) + 1);
    try {
      this.#store.hit(found);
    } catch (error) {
      this.#o.logger.warn({ reason: messageOf(error) }, 'a hit of a cache could not be counted'); // the disk is full
    }
    let isHeld = true;
    const release = (): void => {
      if (isHeld) for (const layer of layers) this.#held.set(layer, (this.#held.get(layer) ?? 1) - 1);
      isHeld = false;
    };
    return { layers, notice: null, release };
  }

  publish(writing: Writing, sandbox: Sandbox, mount: CacheMount, signal: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      const { jobId, path, since, ...key } = writing;
      if (this.#isRemoved({ ...key, since })) return;
      const draft = this.#store.draft();
      this.#making.add(basename(draft.path));
      try {
        const weight = await sandbox.saveCache(
          mount,
          draft.path,
          (size) => this.#makeRoom({ key, weight: size }),
          signal,
        );
        if (weight === null) return;
        await this.#o.sync(draft.path); // what a power cut leaves under its name is whole
        signal.throwIfAborted();
        this.#store.keep(draft);
        const about: About = {
          ...key,
          path,
          layers: [{ id: draft.id, weight }, ...this.#known(mount)],
          writtenAt: Date.now(),
          writtenBy: jobId,
        };
        this.#store.write(about);
        await this.#flatten(about, signal).catch((error: unknown) => {
          signal.throwIfAborted();
          this.#o.logger.warn(
            { ...key, reason: messageOf(error) },
            'the layers of a cache stay as many as they are',
          );
        });
        await this.#makeRoom({ key: null, weight: 0 });
      } catch (error) {
        if (!(error instanceof TooLarge)) throw error;
        if (this.#store.read(key) === null) this.#store.noteAbsent(key, 'too large');
        this.#o.logger.info({ ...writing, reason: error.message }, 'a cache was not kept');
      } finally {
        this.#making.delete(basename(draft.path));
        await this.#dropUnused();
      }
    });
  }

  list(): readonly HostCache[] {
    return this.#store.all().map((about) => this.#store.describe(about));
  }

  remove(removal: CacheRemoval): Promise<void> {
    return this.#inTurn(async () => {
      for (const about of this.#store.all()) if (isMeant(about, removal)) this.#store.remove(about);
      await this.#dropUnused();
    });
  }

  trim(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#makeRoom({ key: null, weight: 0 });
      await this.#dropUnused();
      this.#store.trimAbsences();
    });
  }

  #tryRead(key: CacheKey): About | null {
    try {
      return this.#store.read(key);
    } catch (error) {
      this.#o.logger.warn(
        { ...key, reason: messageOf(error) },
        'a cache could not be read: it is a cold one',
      );
      return null;
    }
  }

  #notice(key: CacheKey): string {
    const absence = this.#store.absence(key) ?? this.#store.absence({ ...key, scope: DEFAULT_SCOPE });
    return absence === null ? 'cold' : `cold, ${inWords(absence)}`;
  }

  /** What a job found. Of layers that no cache has any more the weight is not known: 0. */
  #known({ layers }: CacheMount): Layer[] {
    const weights = new Map(
      this.#store.all().flatMap((about) => about.layers.map(({ id, weight }) => [id, weight])),
    );
    return layers.map((path) => basename(path)).map((id) => ({ id, weight: weights.get(id) ?? 0 }));
  }

  /** Who removes a cache does not want that a job that began before brings it back. */
  #isRemoved({ since, ...key }: CacheKey & { readonly since: number }): boolean {
    return [key, { ...key, scope: DEFAULT_SCOPE }].some((each) => this.#store.removedAt(each) >= since);
  }

  /** Makes one layer of many, and of those that hold more than their owner may keep. */
  async #flatten(about: About, signal: AbortSignal): Promise<void> {
    const { layers } = about;
    const isLong = layers.length > MAX_LAYERS || layers.some(({ weight }) => weight === 0);
    if (layers.length < 2 || (!isLong && weigh(about) <= this.#o.ownerBytes)) return;
    const draft = this.#store.draft();
    this.#making.add(basename(draft.path));
    try {
      const upwards = layers.map(({ id }) => this.#store.layerPath(id)).reverse();
      await humbly(signal, 'perl', FLATTEN, draft.path, ...upwards);
      const weight = await weightOf(draft.path, signal);
      await this.#o.sync(draft.path);
      this.#store.keep(draft);
      this.#store.write({ ...about, layers: [{ id: draft.id, weight }] });
    } finally {
      this.#making.delete(basename(draft.path));
    }
  }

  /**
   * Lets those go that were not used for longest: of an owner who has more than their share, and of all when the disk is
   * nearly full.
   * @throws TooLarge when there is no room for what is about to be added
   */
  async #makeRoom({
    key,
    weight,
  }: {
    readonly key: CacheKey | null;
    readonly weight: number;
  }): Promise<void> {
    const { directory, ownerBytes, minFreeBytes, logger } = this.#o;
    if (weight > ownerBytes)
      throw new TooLarge(
        `${inMb(weight)} MB, and an owner may keep ${inMb(ownerBytes)} MB (FLASHPODS_CACHES_MB)`,
      );
    const isLow = (): boolean => {
      const { bavail, bsize } = statfsSync(directory);
      return bavail * bsize < minFreeBytes + weight;
    };
    const kept = this.#store.all().sort((a, b) => this.#store.lastUse(a) - this.#store.lastUse(b));
    for (const about of kept) {
      const { owner, name, scope } = about;
      const isTheirs = key?.owner === owner;
      const isOver = this.#totalOf(owner) + (isTheirs ? weight : 0) > ownerBytes;
      // Nobody's go for what somebody else wants to keep.
      const isInTheWay = (key === null || isTheirs) && isLow();
      if (!isOver && !isInTheWay) continue;
      // What is replaced is still there, and goes afterwards.
      if (isTheirs && name === key.name && scope === key.scope) continue;
      this.#store.forget(about, 'evicted');
      await this.#dropUnused();
      logger.info({ owner, name, scope, bytes: weigh(about) }, 'a cache went for others');
    }
    if (weight > 0 && isLow())
      throw new TooLarge(`${inMb(weight)} MB, and the disk of the host has not that much`);
  }

  /** What an owner's caches weigh together; a layer that several have counts once. */
  #totalOf(owner: string): number {
    const layers = this.#store.all().flatMap((about) => (about.owner === owner ? about.layers : []));
    return [...new Map(layers.map(({ id, weight }) => [id, weight])).values()].reduce((a, b) => a + b, 0);
  }

  /** Deletes layers that no cache has and no job uses, and what a crash left. */
  async #dropUnused(): Promise<void> {
    const { inUse, removeTree } = this.#o;
    const wanted = new Set(this.#store.all().flatMap(({ layers }) => layers.map(({ id }) => id)));
    const used = inUse();
    const { whole, others } = this.#store.layerNames();
    const isUsed = (id: string): boolean => {
      const path = this.#store.layerPath(id);
      return wanted.has(id) || used.has(path) || (this.#held.get(path) ?? 0) > 0;
    };
    const idle = whole.filter((id) => !isUsed(id));
    const left = others.filter((name) => !this.#making.has(name));
    // All of them at once, together with the look: nobody can begin to use one in between.
    for (const gone of [...idle, ...left].map((name) => this.#store.takeAway(name))) await removeTree(gone);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

const cold = (notice: string): OpenCache => ({ layers: [], notice, release: () => undefined });

const WORDS: Readonly<Record<Absence['why'], string>> = {
  evicted: 'evicted',
  removed: 'removed',
  broken: 'found broken',
  'too large': 'too large to be kept',
};

const DAY_MS = 86_400_000;

function inWords({ why, at }: Absence): string {
  const days = Math.floor(Date.now() / DAY_MS) - Math.floor(at / DAY_MS);
  const when = days <= 0 ? 'today' : days === 1 ? 'yesterday' : `${days} days ago`;
  return `${WORDS[why]} ${when}`;
}

const inMb = (bytes: number): number => Math.ceil(bytes / 2 ** 20);
