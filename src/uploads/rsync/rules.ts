import { FlashpodsError } from '../../errors.ts';
import { openUntil } from '../limits.ts';
import type { UploadParts } from '../parts.ts';
import type { TransferRules } from './rsync.ts';

type Parts = Pick<
  UploadParts,
  'store' | 'states' | 'writers' | 'files' | 'incoming' | 'snapshots' | 'room' | 'limits' | 'logger'
>;

/** The limits of uploads, for transfers by rsync. */
export class UploadRules implements TransferRules {
  readonly #p: Parts;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  tree(id: string): string {
    return this.#p.incoming.path(id);
  }

  async admit(id: string): Promise<number | string> {
    const { store, states, writers, files, incoming, snapshots, room, limits } = this.#p;
    try {
      const { baseId } = await states.open(id, null);
      if (writers.isStreaming(id)) return 'A tar stream is being stored in this upload; one at a time.';
      if (writers.isClosing(id)) return 'This upload is being closed.';
      await files.mend(id);
      if (await snapshots.has(id)) return 'The finalization of this upload has begun.';
      const sizes = await room.sizes();
      const present = await incoming.measure(id);
      sizes.set(id, present);
      const left = (await room.left())() + present;
      // The gate copies it before the transfer begins.
      if (baseId !== null && !(await incoming.isFull(id))) {
        sizes.set(id, (await store.get(baseId))?.sizeBytes ?? 0);
      }
      const largest = Math.min(limits.oneBytes, left);
      return largest > 0 ? largest : 'insufficient_storage: all uploads together have reached their limit.';
    } catch (error) {
      if (error instanceof FlashpodsError) return `${error.code}: ${error.message}`;
      throw error;
    }
  }

  /** What still brings something stays alive; not every look is worth a write. */
  async #prolong(id: string): Promise<void> {
    const { store, limits } = this.#p;
    const upload = await store.get(id);
    if (!upload) return;
    const until = openUntil(upload, limits);
    if (until - upload.expiresAt > Math.min(10_000, limits.openMs / 4)) await store.prolong(id, until);
  }

  /** Over a limit the upload is over, and its tree goes. */
  async look(id: string, grownBytes: number | null): Promise<boolean> {
    const { store, writers, files, incoming, room, limits, logger } = this.#p;
    if (grownBytes !== null && grownBytes > 0) await this.#prolong(id);
    const sizes = await room.sizes();
    const left = await room.left();
    const isOver = (grown: number): boolean =>
      (sizes.get(id) ?? 0) + grown > limits.oneBytes || left() < grown;
    if (grownBytes !== null && !isOver(grownBytes)) return false;
    if (writers.isClosing(id)) return true;
    sizes.set(id, await incoming.measure(id));
    if (!isOver(0)) return true;
    logger.warn({ upload_id: id }, 'a transfer by rsync went over a limit; ending it');
    await writers.exclusively(id, async () => {
      if (await store.expire(id)) await files.delete(id);
    });
    return true;
  }
}
