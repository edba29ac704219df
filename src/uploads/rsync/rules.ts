import { FlashpodsError } from '../../errors.ts';
import { openUntil } from '../limits.ts';
import type { UploadParts } from '../parts.ts';
import { NO_USE } from '../total-room.ts';
import type { TransferRules } from './rsync.ts';

/** Files without bytes and directories show in no count of bytes: while they come, the tree is measured so often. */
const MEASURE_EVERY_MS = 500;
/** Of the time at most, for a large tree. */
const DUTY = 0.1;

type Parts = Pick<
  UploadParts,
  'store' | 'states' | 'writers' | 'files' | 'incoming' | 'snapshots' | 'room' | 'rsync' | 'limits' | 'logger'
>;

/** The limits of uploads, for transfers by rsync. */
export class UploadRules implements TransferRules {
  readonly #p: Parts;
  /** When a tree is to be measured again at the latest, by `performance.now`. */
  readonly #dueAt = new Map<string, number>();

  constructor(parts: Parts) {
    this.#p = parts;
  }

  async admit(id: string): Promise<number | string> {
    const { store, states, writers, files, incoming, snapshots, room, rsync, limits, logger } = this.#p;
    try {
      const { baseId, owner } = await states.open(id, null);
      if (writers.isStreaming(id)) return 'A tar stream is being stored in this upload; one at a time.';
      if (writers.isClosing(id)) return 'This upload is being closed.';
      await files.mend(id);
      if (await snapshots.has(id)) return 'The finalization of this upload has begun.';
      const sizes = await room.sizes();
      const excess = await this.#measure(id);
      if (excess !== null) {
        // Once the answer is given: to expire it ends the connection that waits for that.
        setImmediate(() => {
          this.#expire(id).catch((error: unknown) => {
            logger.warn({ err: error, upload_id: id }, 'an upload that is too large could not be expired');
          });
        });
        return `insufficient_storage: ${excess}`;
      }
      if (rsync.munges) await incoming.munge(id);
      const present = sizes.get(id) ?? NO_USE;
      const left = (await room.left(owner)).bytes() + present.weightBytes;
      // The gate copies it before the transfer begins.
      if (baseId !== null && !(await incoming.isFull(id))) {
        const base = await store.get(baseId);
        sizes.set(id, { ...NO_USE, weightBytes: base?.weightBytes ?? base?.sizeBytes ?? 0 });
      }
      const largest = Math.min(limits.oneBytes, left);
      if (largest > 0) return largest;
      return `insufficient_storage: ${(await room.left(owner)).error().message}`;
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
    const { store, writers, room, limits, logger } = this.#p;
    if (grownBytes !== null && grownBytes > 0) await this.#prolong(id);
    const sizes = await room.sizes();
    const upload = await store.get(id);
    if (!upload) return true;
    const left = await room.left(upload.owner);
    const isOver = (grown: number): boolean =>
      (sizes.get(id)?.weightBytes ?? 0) + grown > limits.oneBytes || left.bytes() < grown;
    const isDue = performance.now() > (this.#dueAt.get(id) ?? 0);
    if (grownBytes !== null && !isOver(grownBytes) && !isDue) return false;
    if (writers.isClosing(id)) return true;
    const excess = await this.#measure(id);
    if (grownBytes === null) this.#dueAt.delete(id);
    if (excess === null && !isOver(0)) return true;
    logger.warn({ upload_id: id, excess }, 'a transfer by rsync went over a limit; ending it');
    await this.#expire(id);
    return true;
  }

  /** @returns why the tree may not be, or null. It throws for nothing that lies in the tree. */
  async #measure(id: string): Promise<string | null> {
    const { incoming, room } = this.#p;
    const began = performance.now();
    const size = await incoming.measure(id);
    (await room.sizes()).set(id, room.useOf(size));
    const tookMs = performance.now() - began;
    this.#dueAt.set(id, performance.now() + Math.max(MEASURE_EVERY_MS, tookMs / DUTY));
    return size.excess;
  }

  async #expire(id: string): Promise<void> {
    const { store, writers, files } = this.#p;
    this.#dueAt.delete(id);
    await writers.exclusively(id, async () => {
      if (await store.expire(id)) await files.delete(id);
    });
  }
}
