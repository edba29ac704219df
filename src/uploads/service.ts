import { FlashpodsError } from '../errors.ts';
import { newUploadId } from '../ids.ts';
import { deletionsOf } from './base.ts';
import { UploadExpiry } from './expiry.ts';
import { IncomingTrees } from './incoming-trees.ts';
import type { UploadParts } from './parts.ts';
import type { RsyncTarget } from './rsync/rsync.ts';
import { UploadRules } from './rsync/rules.ts';
import type { Base } from './snapshot-store.ts';
import { TarReceiver } from './tar/tar-receiver.ts';
import { TotalRoom } from './total-room.ts';
import type { TreeFacts } from './tree.ts';
import type { Upload } from './upload.ts';
import { UploadFiles } from './upload-files.ts';
import { UploadStates } from './upload-states.ts';
import { Writers } from './writers.ts';

import { treeProcesses } from '../tree-process/tree-processes.ts';
import { inNameOf } from '../tree-process/turns.ts';

export interface UploadServiceResources
  extends
    Pick<UploadParts, 'store' | 'snapshots' | 'limits' | 'rsync' | 'logger'>,
    Partial<Pick<UploadParts, 'trees'>> {
  /** Directory of this machine in which files come; on the file system of the snapshots if these are local. */
  readonly incomingPath: string;
}

/**
 * What can be done with uploads: uploading → finalized → consumed, and expired from each of the first two.
 * A row's state is the truth; a step that a crash interrupted is done again by the next who comes.
 */
export class UploadService {
  readonly receive: TarReceiver['receive'];
  readonly sweep: UploadExpiry['sweep'];
  readonly #r: UploadServiceResources;
  readonly #incoming: IncomingTrees;
  readonly #trees: UploadParts['trees'];
  readonly #writers: Writers;
  readonly #states: UploadStates;
  readonly #room: TotalRoom;
  readonly #files: UploadFiles;
  readonly #rules: UploadRules;
  readonly #expiry: UploadExpiry;

  constructor(resources: UploadServiceResources) {
    this.#r = resources;
    const trees = resources.trees ?? treeProcesses();
    this.#incoming = new IncomingTrees(resources.incomingPath, trees);
    const parts = { ...resources, trees, incoming: this.#incoming };
    this.#trees = trees;
    const writers = (this.#writers = new Writers(parts));
    const states = (this.#states = new UploadStates({ ...parts, writers }));
    const room = (this.#room = new TotalRoom({ ...parts, writers }));
    const files = (this.#files = new UploadFiles({ ...parts, writers, room }));
    const all = { ...parts, writers, states, room, files };
    const receiver = new TarReceiver(all);
    this.receive = (...args) => receiver.receive(...args);
    this.#rules = new UploadRules(all);
    const expiry = (this.#expiry = new UploadExpiry(all));
    this.sweep = () => expiry.sweep();
  }

  /**
   * @param options.id the caller's own, checked already
   * @param options.baseId an upload of the same owner whose snapshot is still there
   * @throws FlashpodsError invalid_request when the id is taken; upload_not_found, upload_not_finalized or
   *   upload_expired for the base
   */
  async create(
    owner: string,
    options: { id?: string | undefined; baseId?: string | undefined } = {},
  ): Promise<Upload> {
    const { id = newUploadId(), baseId = null } = options;
    if (baseId !== null) {
      const base = await this.get(baseId, owner);
      if (base.state === 'uploading') throw new FlashpodsError('upload_not_finalized');
      if (base.state === 'expired' || base.filesDeletedAt !== null)
        throw new FlashpodsError('upload_expired');
    }
    await this.#expiry.makeRoom(owner);
    // Files come next.
    this.#trees.warm();
    return this.#states.create(id, owner, baseId);
  }

  /** @param viewer an owner, who sees only what is its own, or null @throws FlashpodsError upload_not_found */
  get(id: string, viewer: string | null): Promise<Upload> {
    return this.#states.get(id, viewer);
  }

  /** Where and as whom rsync may write into an upload that takes files; null without a daemon. */
  rsyncTarget(upload: Upload): RsyncTarget | null {
    const { rsync } = this.#r;
    const { address } = rsync;
    if (address === null || upload.state !== 'uploading') return null;
    return { address, ...rsync.credentialsOf(upload.id) };
  }

  /**
   * Sees to the limits of what comes by rsync, until `stop`; no transfer begins without it. One process of the
   * machine, which is the one that receives the tar streams.
   */
  watchTransfers(): { stop(): Promise<void> } {
    return this.#r.rsync.watch(this.#rules);
  }

  /**
   * Ends the upload's stream, takes the tree out of its reach and answers the immutable snapshot. Repeatable until
   * the row says `finalized`.
   * @throws FlashpodsError for the upload's state, insufficient_storage
   */
  async finalize(
    id: string,
    viewer: string | null,
    options: { reusable: boolean; delete?: readonly string[] },
  ): Promise<Upload> {
    const { store, limits, rsync } = this.#r;
    const { baseId, owner } = await this.#states.open(id, viewer);
    const wanted = options.delete ?? [];
    if (wanted.length > 0 && baseId === null) throw wrongDeletion('is for an upload with a `base`');
    const deletions = deletionsOf(wanted);
    const seal = async (): Promise<Upload> => {
      await this.#states.open(id, viewer);
      await this.#files.mend(id);
      const isFull = await this.#incoming.isFull(id);
      if (isFull && wanted.length > 0) {
        throw wrongDeletion('is for tar streams; rsync has deleted by itself with --delete');
      }
      const facts = await this.#seal(id, baseId === null ? null : { id: baseId, deletions, isFull });
      await this.#room.forget(id);
      const upload = await store.finalize(id, {
        ...facts,
        expiresAt: Date.now() + limits.unusedMs,
        reusable: options.reusable,
      });
      if (upload) {
        await this.#incoming.handedOver(id);
        rsync.forget(id);
        return upload;
      }
      await this.#states.open(id, viewer);
      throw new Error(`upload ${id} is open and could not be finalized`);
    };
    return inNameOf(owner, () => this.#writers.exclusively(id, seal));
  }

  /** @throws FlashpodsError upload_already_consumed when a job has it, upload_expired when it is gone already */
  async delete(id: string, viewer: string | null): Promise<void> {
    const { store } = this.#r;
    const { owner } = await this.get(id, viewer);
    const remove = async (): Promise<void> => {
      const upload = await this.get(id, viewer);
      if (upload.state === 'expired') throw new FlashpodsError('upload_expired');
      if (!(await store.expire(id))) throw new FlashpodsError('upload_already_consumed');
      // Jobs may still be using a shared one, and uploads their base: the sweep takes the files when none is.
      if (!upload.reusable && !(await store.isBase(id, Date.now()))) await this.#files.delete(id);
    };
    await inNameOf(owner, () => this.#writers.exclusively(id, remove));
  }

  /** After a tree that may not become a snapshot the upload is open and empty again. */
  async #seal(id: string, base: Base | null): Promise<TreeFacts> {
    const { snapshots, rsync, limits } = this.#r;
    try {
      const facts = await snapshots.seal(id, this.#incoming.path(id), { base, munged: rsync.munges });
      if (facts.weightBytes > limits.oneBytes) {
        throw new FlashpodsError('insufficient_storage', 'The upload is over its limit.');
      }
      return facts;
    } catch (error) {
      if (error instanceof FlashpodsError) {
        await snapshots.delete(id);
        await this.#incoming.handedOver(id);
        await this.#room.forget(id);
      }
      throw error;
    }
  }
}

const wrongDeletion = (what: string): FlashpodsError =>
  new FlashpodsError('invalid_request', `delete: ${what}`, { details: { field: 'delete' } });
