import { FlashpodsError } from '../errors.ts';
import { isUploadId } from '../ids.ts';
import { OPEN_IN_ALL, OPEN_PER_OWNER, openUntil } from './limits.ts';
import type { UploadParts } from './parts.ts';
import { isPast, type Upload } from './upload.ts';

/**
 * Owner of an upload that somebody began by putting a directory where uploads lie: the one that the first token of a
 * server has. Ids may be of a caller's own choosing, so one that asks for such an id says nothing by that.
 */
const OWNER_OF_STRANGERS = 'default';

type Parts = Pick<UploadParts, 'store' | 'incoming' | 'writers' | 'limits'>;

/** Which uploads there are, and what may be done with one. The row's state is the truth. */
export class UploadStates {
  readonly #p: Parts;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  /** @param viewer an owner, who sees only what is its own, or null @throws FlashpodsError upload_not_found */
  async get(id: string, viewer: string | null): Promise<Upload> {
    const upload = isUploadId(id) ? ((await this.#p.store.get(id)) ?? (await this.adopt(id))) : null;
    if (!upload || (viewer !== null && upload.owner !== viewer)) {
      throw new FlashpodsError('upload_not_found', `There is no upload ${JSON.stringify(id.slice(0, 64))}.`);
    }
    return isPast(upload) ? { ...upload, state: 'expired' } : upload;
  }

  /** The upload, if it still takes files. @throws FlashpodsError for every other state */
  async open(id: string, viewer: string | null): Promise<Upload> {
    const upload = await this.get(id, viewer);
    switch (upload.state) {
      case 'uploading':
        return upload;
      case 'finalized':
        throw new FlashpodsError('upload_already_finalized');
      case 'consumed':
        throw new FlashpodsError('upload_already_consumed');
      case 'expired':
        throw new FlashpodsError('upload_expired');
    }
  }

  /** @throws FlashpodsError invalid_request when the id is taken, too_many_open */
  async create(id: string, owner: string, baseId: string | null): Promise<Upload> {
    const { openPerOwner = OPEN_PER_OWNER, openInAll = OPEN_IN_ALL } = this.#p.limits;
    return this.#open(id, owner, baseId, { ofOwner: openPerOwner, inAll: openInAll });
  }

  async #open(
    id: string,
    owner: string,
    baseId: string | null,
    most?: { readonly ofOwner: number; readonly inAll: number },
  ): Promise<Upload> {
    const expiresAt = openUntil({ createdAt: Date.now() }, this.#p.limits);
    const upload = await this.#p.store.create({ id, owner, expiresAt, baseId }, most);
    await this.#p.writers.letIn(upload);
    return upload;
  }

  /** A directory that appeared without a row gets one at first sight. @returns null when there is no such directory */
  async adopt(id: string): Promise<Upload | null> {
    if (!(await this.#p.incoming.ids()).includes(id)) return null;
    try {
      return await this.#open(id, OWNER_OF_STRANGERS, null);
    } catch (error) {
      if (!(error instanceof FlashpodsError) || error.code !== 'invalid_request') throw error;
      return this.#p.store.get(id); // somebody else saw it first
    }
  }
}
