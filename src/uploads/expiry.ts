import type { UploadParts } from './parts.ts';

const BATCH = 100;

type Parts = Pick<
  UploadParts,
  'store' | 'states' | 'writers' | 'files' | 'incoming' | 'snapshots' | 'logger' | 'room' | 'limits'
>;

/**
 * Deletes the files of every upload that is over, and all that lies beside uploads and belongs to none; a directory
 * that could be an upload gets a row instead. What fails is left for the next time; what is interrupted is done again.
 */
export class UploadExpiry {
  readonly #p: Parts;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  /** @returns how many uploads and other directories went */
  async sweep(): Promise<number> {
    const { incoming, states, store } = this.#p;
    for (const id of await incoming.ids()) if (!(await store.get(id))) await states.adopt(id);
    return (await this.#sweepUploads()) + (await this.#sweepOrphans());
  }

  /**
   * Lets go of what is kept only so that its job can be made once more, until there is room for one more upload of the
   * largest size of this owner, or nothing such is left: its own first, then those of others.
   */
  async makeRoom(owner: string): Promise<void> {
    const { store, room, limits, writers, files } = this.#p;
    for (;;) {
      const left = await room.left(owner);
      if (left.bytes() >= limits.oneBytes) return;
      const [own] = await store.keptForReruns(1, owner);
      // Files of others do not help an owner whose own share is full.
      const [other] = left.ofAll() < limits.oneBytes ? await store.keptForReruns(1) : [];
      const id = own ?? other;
      if (id === undefined) return;
      const gone = await writers.exclusively(id, async () => {
        if (!(await store.retire(id))) return false;
        await files.delete(id);
        return true;
      });
      if (!gone) return;
    }
  }

  async #sweepUploads(): Promise<number> {
    const { store, writers, files, logger } = this.#p;
    const tried = new Set<string>();
    let removed = 0;
    for (;;) {
      const batch = await store.disposable(Date.now(), BATCH + tried.size);
      const fresh = batch.filter(({ id }) => !tried.has(id));
      if (fresh.length === 0) return removed;
      for (const { id, jobId, state } of fresh) {
        tried.add(id);
        const expire = async (): Promise<void> => {
          // A job may have attached it since the list was made; `expire` is where that is decided.
          const over =
            state === 'expired' || (jobId === null ? await store.expire(id) : await store.retire(id));
          if (!over || (await store.isBase(id, Date.now()))) return;
          await files.delete(id);
          removed += 1;
        };
        await writers.exclusively(id, expire).catch((error: unknown) => {
          logger.warn({ err: error, upload_id: id }, 'the files of an upload could not be deleted');
        });
      }
    }
  }

  async #sweepOrphans(): Promise<number> {
    const { incoming, snapshots, store, writers, logger } = this.#p;
    const places = [incoming, snapshots];
    const stored = await Promise.all(places.map((place) => place.list()));
    // Rows are asked for after the directories were seen: a row is older than its directory.
    const known = await store.ownersOfStored();
    let removed = 0;
    for (const [index, place] of places.entries()) {
      for (const id of stored[index] ?? []) {
        if (known.has(id) || writers.isStreaming(id)) continue;
        try {
          await place.delete(id);
          removed += 1;
        } catch (error) {
          logger.warn({ err: error, upload_id: id }, 'files of no upload could not be deleted');
        }
      }
    }
    return removed;
  }
}
