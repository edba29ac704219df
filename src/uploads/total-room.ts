import { FlashpodsError } from '../errors.ts';
import type { Spent } from '../trees/budget.ts';
import type { UploadParts } from './parts.ts';
import type { TreeSize } from './tree.ts';

type Parts = Pick<UploadParts, 'store' | 'incoming' | 'writers' | 'limits' | 'logger'>;

/** What a tree that is not a snapshot yet takes. */
export interface Use extends Spent {
  readonly weightBytes: number;
}

export const NO_USE: Use = { weightBytes: 0, entries: 0, nameBytes: 0 };

/** What an owner may still send; asked anew for every piece that comes. */
export interface Room {
  /** Below zero over a limit. */
  bytes(): number;
  /** What all owners together may still send. */
  ofAll(): number;
  /** Which of the limits it is. */
  error(): FlashpodsError;
}

/**
 * The room that uploads still have: all together, and those of one owner, so that nobody can take it all. Each is
 * limit − snapshots − trees that came in − streams under way.
 */
export class TotalRoom {
  readonly #p: Parts;
  /** Of the trees that are not snapshots yet, by upload. */
  #sizes: Promise<Map<string, Use>> | null = null;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  /** Measured once, when the first stream comes after a start; then kept up to date by those who write. */
  sizes(): Promise<Map<string, Use>> {
    this.#sizes ??= this.#measure().catch((error: unknown) => {
      this.#sizes = null;
      throw error;
    });
    return this.#sizes;
  }

  async forget(id: string): Promise<void> {
    (await this.#sizes)?.delete(id);
  }

  /** What a measured tree counts for. One that may not be counts for as much as the largest that may. */
  useOf({ excess, weightBytes, entries, nameBytes }: TreeSize): Use {
    const { oneBytes } = this.#p.limits;
    return {
      weightBytes: excess === null ? weightBytes : Math.max(oneBytes, weightBytes),
      entries,
      nameBytes,
    };
  }

  async left(owner: string): Promise<Room> {
    const { store, writers, limits } = this.#p;
    const sizes = await this.sizes();
    const [stored, storedOwn] = [await store.storedBytes(), await store.storedBytes(owner)];
    // The sweep of another process may have been there.
    const owners = await store.ownersOfStored();
    for (const id of sizes.keys()) if (!owners.has(id)) sizes.delete(id);
    const leftOf = (limit: number, before: number, whose: string | null): number => {
      let used = before + writers.streamedBytes(whose);
      for (const [id, { weightBytes }] of sizes)
        if (whose === null || owners.get(id) === whose) used += weightBytes;
      return limit - used;
    };
    const all = (): number => leftOf(limits.totalBytes, stored, null);
    const own = (): number => leftOf(shareOf(limits), storedOwn, owner);
    return {
      bytes: () => Math.min(all(), own()),
      ofAll: all,
      error: () =>
        new FlashpodsError(
          'insufficient_storage',
          all() < own()
            ? 'All uploads together have reached their limit.'
            : `The uploads of ${JSON.stringify(owner)} have reached their share of the room for all; delete some, or wait until they expire.`,
        ),
    };
  }

  async #measure(): Promise<Map<string, Use>> {
    const { incoming, limits, logger } = this.#p;
    const sizes = new Map<string, Use>();
    for (const id of await incoming.ids()) {
      // One that can't be measured is no reason to take nothing from anybody.
      const use = await incoming.measure(id).then(
        (size) => this.useOf(size),
        (error: unknown) => {
          logger.warn({ err: error, upload_id: id }, 'an upload could not be measured; it counts as full');
          return { ...NO_USE, weightBytes: limits.oneBytes };
        },
      );
      sizes.set(id, use);
    }
    return sizes;
  }
}

/** Half of the room unless said, and one upload of the largest size in any case. */
const shareOf = ({ ownerBytes, oneBytes, totalBytes }: UploadParts['limits']): number =>
  ownerBytes ?? Math.max(oneBytes, Math.floor(totalBytes / 2));
