import { FlashpodsError } from '../errors.ts';
import type { Mark } from './incoming-trees.ts';
import type { UploadParts } from './parts.ts';

type Parts = Pick<UploadParts, 'store' | 'incoming' | 'snapshots' | 'room' | 'rsync' | 'writers'>;

/** How the files of an upload go: with it, or after a stream that broke off. Every step can be done again. */
export class UploadFiles {
  readonly #p: Parts;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  /** Deletes all files of an upload that is over, and writes it into its row. */
  async delete(id: string): Promise<void> {
    const { incoming, snapshots, room, rsync, store } = this.#p;
    await incoming.delete(id);
    await snapshots.delete(id);
    await room.forget(id);
    rsync.forget(id);
    await store.markFilesDeleted(id);
  }

  /** Clears up after a stream that died with its process. @throws FlashpodsError upload_expired when files are lost */
  async mend(id: string): Promise<void> {
    const mark = await this.#p.incoming.unfinished(id);
    if (mark === null) return;
    await this.discard(id, mark);
    if (mark === 'more') {
      throw new FlashpodsError(
        'upload_expired',
        'A stream into this upload broke off; create another upload.',
      );
    }
  }

  /** A stream broke off: the tree is as empty as before or, if it held files, the whole upload is over. */
  async discard(id: string, mark: Mark): Promise<void> {
    const { incoming, room, rsync, store, writers } = this.#p;
    await room.forget(id);
    if (mark === 'more') await store.expire(id);
    await rsync.close(id, incoming.path(id));
    await incoming.delete(id);
    if (mark === 'more') {
      rsync.forget(id);
      await store.markFilesDeleted(id);
    } else await writers.letInAgain(id);
  }
}
