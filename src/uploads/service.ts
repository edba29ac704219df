/** What can be done with uploads: the states, the limits, and where their files lie. */
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { FlashpodsError, systemCode } from '../errors.ts';
import { isUploadId, newUploadId } from '../ids.ts';
import type { Logger } from '../observability/logger.ts';
import { deletionsOf } from './base.ts';
import { extractTar, MAX_FILES } from './tar/extract-tar.ts';
import { RsyncAccess, type RsyncCredentials } from './rsync/access.ts';
import { type TransferRules, TransferWatch } from './rsync/transfer-watch.ts';
import { type Encoding, TarIntake } from './tar/tar-intake.ts';
import type { TreeFacts, TreeIds } from './tree.ts';
import type { Upload, UploadStore } from './upload.ts';
import { IncomingTrees, type Mark } from './incoming-trees.ts';
import type { Base, SnapshotStore } from './snapshot-store.ts';

export interface UploadLimits {
  /** One upload, bytes of its files. */
  readonly oneBytes: number;
  /** All uploads together. */
  readonly totalBytes: number;
  /** Life of an upload that is not finalized, and of a finalized one that no job names. */
  readonly openMs: number;
  readonly unusedMs: number;
  /** A stream that brings nothing for so long is given up. */
  readonly idleMs: number;
}

const MB = 1024 * 1024;

export const uploadLimits = (
  config: Pick<Config, 'uploadMaxMb' | 'uploadsTotalMb' | 'uploadOpenMinutes' | 'uploadUnusedMinutes'>,
): UploadLimits => ({
  oneBytes: config.uploadMaxMb * MB,
  totalBytes: config.uploadsTotalMb * MB,
  openMs: config.uploadOpenMinutes * 60_000,
  unusedMs: config.uploadUnusedMinutes * 60_000,
  idleMs: 60_000,
});

export interface UploadServiceResources {
  readonly store: UploadStore;
  readonly snapshots: SnapshotStore;
  /** Directory of this machine in which files come; on the file system of the snapshots if these are local. */
  readonly incomingPath: string;
  readonly limits: UploadLimits;
  /** Whom files that come by rsync are given to; null: they stay ours. */
  readonly ids: TreeIds | null;
  /** Directory of the rsync daemon of this machine, if there may be one. */
  readonly rsyncPath?: string;
  readonly logger: Logger;
}

export interface RsyncTarget extends RsyncCredentials {
  /** `HOST:PORT` at which the daemon listens. */
  readonly address: string;
}

const SWEEP_BATCH = 100;
/** Owner of an upload that somebody began by putting a directory where uploads lie. */
const OWNER_OF_STRANGERS = 'default';

/**
 * A row's state is the truth; a step that a crash interrupted is done again by whoever comes next. Streams are
 * counted and ended in the memory of the one process that receives them.
 */
export class UploadService {
  readonly #r: UploadServiceResources;
  readonly #incoming: IncomingTrees;
  /** Streams that are being unpacked, by upload: one at a time each. */
  readonly #writers = new Map<string, TarIntake>();
  readonly #rsync: RsyncAccess | null;
  /** Finalizations and deletions under way, by upload. */
  readonly #closing = new Map<string, Promise<unknown>>();
  /** Bytes of the files in `incoming`, by upload. */
  #incomingBytes: Promise<Map<string, number>> | null = null;

  constructor(resources: UploadServiceResources) {
    this.#r = resources;
    this.#incoming = new IncomingTrees(resources.incomingPath);
    this.#rsync =
      resources.rsyncPath === undefined ? null : new RsyncAccess(resources.rsyncPath, resources.ids);
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
    const expiresAt = Date.now() + this.#r.limits.openMs;
    const upload = await this.#r.store.create({ id, owner, expiresAt, baseId });
    await this.#letIn(upload);
    return upload;
  }

  /** Where and as whom rsync may write into an upload that takes files; null without a daemon. */
  rsyncTarget(upload: Upload): RsyncTarget | null {
    const address = this.#rsync?.address ?? null;
    if (!this.#rsync || address === null || upload.state !== 'uploading') return null;
    return { address, ...this.#rsync.credentialsOf(upload.id) };
  }

  /**
   * Sees to the limits of what comes by rsync, until `stop`; no transfer begins without it. One process of the
   * machine, which is the one that receives the tar streams.
   */
  watchTransfers(): { stop(): Promise<void> } {
    if (!this.#rsync) return { stop: () => Promise.resolve() };
    const rules: TransferRules = {
      tree: (id) => this.#incoming.path(id),
      admit: (id) => this.#admit(id),
      look: (id, grownBytes) => this.#look(id, grownBytes),
    };
    const watch = new TransferWatch(this.#rsync, rules, this.#r.logger);
    watch.start();
    return watch;
  }

  /** @param viewer an owner, who sees only what is its own, or null @throws FlashpodsError upload_not_found */
  async get(id: string, viewer: string | null): Promise<Upload> {
    const upload = isUploadId(id) ? ((await this.#r.store.get(id)) ?? (await this.#adopt(id, viewer))) : null;
    if (!upload || (viewer !== null && upload.owner !== viewer)) {
      throw new FlashpodsError('upload_not_found', `There is no upload ${JSON.stringify(id.slice(0, 64))}.`);
    }
    return isPast(upload) ? { ...upload, state: 'expired' } : upload;
  }

  /** A directory that appeared without a row gets one at first sight. */
  async #adopt(id: string, viewer: string | null): Promise<Upload | null> {
    if (!(await this.#incoming.ids()).includes(id)) return null;
    const expiresAt = Date.now() + this.#r.limits.openMs;
    try {
      const upload = await this.#r.store.create({ id, owner: viewer ?? OWNER_OF_STRANGERS, expiresAt });
      await this.#letIn(upload);
      return upload;
    } catch (error) {
      if (!(error instanceof FlashpodsError) || error.code !== 'invalid_request') throw error;
      return this.#r.store.get(id); // somebody else saw it first
    }
  }

  /**
   * Unpacks a tar stream into the upload; when it returns all of it is stored. A stream that fails leaves nothing
   * behind: the tree is as empty as before or, if it held files, the whole upload is over.
   * @throws FlashpodsError for the upload's state, another stream at the same time (quota_exceeded), a limit
   *   (insufficient_storage), and a stream that is no tar or wants out of the tree (invalid_request)
   */
  async receive(
    id: string,
    viewer: string | null,
    body: Readable,
    encoding: Encoding,
  ): Promise<{ upload: Upload; received: { files: number; bytes: number } }> {
    let upload = await this.#open(id, viewer);
    for (let closing = this.#closing.get(id); closing; closing = this.#closing.get(id)) {
      await closing.catch(() => undefined);
      upload = await this.#open(id, viewer);
    }
    const busy = (): FlashpodsError =>
      new FlashpodsError('quota_exceeded', 'Another stream is being stored in this upload; one at a time.');
    if (this.#writers.has(id)) throw busy();
    const intake = new TarIntake(body, encoding, this.#r.limits.idleMs);
    this.#writers.set(id, intake);
    try {
      // A connection that comes after this look is refused for the stream that stands in the map. One whose client
      // has all it wants ends by itself.
      for (let looks = 0; this.#rsync?.isWriting(id) === true; looks++) {
        if (looks === 50) throw busy();
        await delay(20);
      }
      return { upload, received: await this.#store(id, intake) };
    } finally {
      this.#writers.delete(id);
      intake.close();
    }
  }

  async #store(id: string, intake: TarIntake): Promise<{ files: number; bytes: number }> {
    await this.#mend(id);
    if (await this.#r.snapshots.has(id)) {
      throw new FlashpodsError('upload_already_finalized', 'Its finalization has begun; repeat that.');
    }
    const bytes = await this.#incomingSizes();
    const before = bytes.get(id) ?? 0;
    intake.limit(await this.#room(bytes));
    const mark = await this.#incoming.begin(id);
    try {
      const received = await extractTar(intake.tar, this.#incoming.path(id), {
        maxBytes: this.#r.limits.oneBytes - before,
      });
      bytes.set(id, before + received.bytes);
      await this.#incoming.finish(id);
      return received;
    } catch (thrown) {
      const error = intake.reason ?? thrown;
      if (intake.ended) {
        // Ended for a finalization or a deletion, which decides what becomes of the tree.
        await this.#incoming.finish(id);
      } else {
        await this.#discard(id, mark);
        // The sweep of another process may have taken the tree away under this stream.
        if (!(error instanceof FlashpodsError)) await this.#open(id, null);
      }
      throw translate(error);
    }
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
    const deletions = options.delete ?? [];
    const { baseId } = await this.#open(id, viewer);
    if (deletions.length > 0 && baseId === null) throw wrongDeletion('is for an upload with a `base`');
    const gone = deletionsOf(deletions);
    return this.#exclusively(id, async () => {
      await this.#open(id, viewer);
      await this.#mend(id);
      const isFull = await this.#incoming.isFull(id);
      if (isFull && deletions.length > 0) {
        throw wrongDeletion('is for tar streams; rsync has deleted by itself with --delete');
      }
      const facts = await this.#seal(id, baseId === null ? null : { id: baseId, deletions: gone, isFull });
      await this.#forgetSize(id);
      const upload = await this.#r.store.finalize(id, {
        ...facts,
        expiresAt: Date.now() + this.#r.limits.unusedMs,
        reusable: options.reusable,
      });
      if (upload) {
        await this.#incoming.handedOver(id);
        this.#rsync?.forget(id);
        return upload;
      }
      await this.#open(id, viewer);
      throw new Error(`upload ${id} is open and could not be finalized`);
    });
  }

  /** After a tree that may not become a snapshot the upload is open and empty again. */
  async #seal(id: string, base: Base | null): Promise<TreeFacts> {
    try {
      const munged = this.#rsync?.munges ?? false;
      const facts = await this.#r.snapshots.seal(id, this.#incoming.path(id), { base, munged });
      if (facts.sizeBytes > this.#r.limits.oneBytes || facts.fileCount > MAX_FILES) throw overOne();
      return facts;
    } catch (error) {
      if (error instanceof FlashpodsError) {
        await this.#r.snapshots.delete(id);
        await this.#incoming.handedOver(id);
        await this.#forgetSize(id);
      }
      throw error;
    }
  }

  /** @throws FlashpodsError upload_already_consumed when a job has it, upload_expired when it is gone already */
  async delete(id: string, viewer: string | null): Promise<void> {
    await this.get(id, viewer);
    await this.#exclusively(id, async () => {
      const upload = await this.get(id, viewer);
      if (upload.state === 'expired') throw new FlashpodsError('upload_expired');
      if (!(await this.#r.store.expire(id))) throw new FlashpodsError('upload_already_consumed');
      // Jobs may still be using a shared one, and uploads their base: the sweep takes the files when none is.
      if (!upload.reusable && !(await this.#r.store.isBase(id, Date.now()))) await this.#remove(id);
    });
  }

  /**
   * Deletes the files of every upload that is over, and every directory that no row knows and that is no upload
   * either: one that could be gets a row. What fails is left for the next time; what is interrupted is done again.
   * @returns uploads and directories that went
   */
  async sweep(): Promise<number> {
    for (const id of await this.#incoming.ids()) {
      if (!(await this.#r.store.get(id))) await this.#adopt(id, null);
    }
    return (await this.#sweepUploads()) + (await this.#sweepOrphans());
  }

  async #sweepUploads(): Promise<number> {
    const tried = new Set<string>();
    let removed = 0;
    for (;;) {
      const batch = await this.#r.store.disposable(Date.now(), SWEEP_BATCH + tried.size);
      const fresh = batch.filter(({ id }) => !tried.has(id));
      if (fresh.length === 0) return removed;
      for (const { id, jobId, state } of fresh) {
        tried.add(id);
        await this.#exclusively(id, async () => {
          // A job may have claimed it since the list was made; `expire` is where that is decided.
          const over = state === 'expired' || jobId !== null || (await this.#r.store.expire(id));
          if (!over || (await this.#r.store.isBase(id, Date.now()))) return;
          await this.#remove(id);
          removed += 1;
        }).catch((error: unknown) => {
          this.#r.logger.warn({ err: error, upload_id: id }, 'the files of an upload could not be deleted');
        });
      }
    }
  }

  async #sweepOrphans(): Promise<number> {
    const places = [this.#incoming, this.#r.snapshots];
    const stored = await Promise.all(places.map((place) => place.list()));
    // Rows are asked for after the directories were seen: a row is older than its directory.
    const known = await this.#r.store.knownIds();
    let removed = 0;
    for (const [index, place] of places.entries()) {
      for (const id of stored[index] ?? []) {
        if (known.has(id) || this.#writers.has(id)) continue;
        try {
          await place.delete(id);
          removed += 1;
        } catch (error) {
          this.#r.logger.warn({ err: error, upload_id: id }, 'files of no upload could not be deleted');
        }
      }
    }
    return removed;
  }

  /** The upload, if it still takes files. @throws FlashpodsError for every other state */
  async #open(id: string, viewer: string | null): Promise<Upload> {
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

  /** Runs `work` when nobody else changes the upload, its stream ended first. */
  async #exclusively<T>(id: string, work: () => Promise<T>): Promise<T> {
    for (let other = this.#closing.get(id); other; other = this.#closing.get(id))
      await other.catch(() => undefined);
    const run = (async () => {
      await this.#writers.get(id)?.end();
      await this.#rsync?.close(id, this.#incoming.path(id));
      try {
        return await work();
      } catch (error) {
        const upload = await this.#r.store.get(id);
        if (upload) await this.#letIn(upload);
        throw error;
      }
    })();
    this.#closing.set(id, run);
    try {
      return await run;
    } finally {
      this.#closing.delete(id);
    }
  }

  /** Clears up after a stream that died with its process. */
  async #mend(id: string): Promise<void> {
    const mark = await this.#incoming.unfinished(id);
    if (mark === null) return;
    await this.#discard(id, mark);
    if (mark === 'more') {
      throw new FlashpodsError(
        'upload_expired',
        'A stream into this upload broke off; create another upload.',
      );
    }
  }

  async #discard(id: string, mark: Mark): Promise<void> {
    await this.#forgetSize(id);
    if (mark === 'more') await this.#r.store.expire(id);
    await this.#rsync?.close(id, this.#incoming.path(id));
    await this.#incoming.delete(id);
    if (mark === 'more') {
      this.#rsync?.forget(id);
      await this.#r.store.markFilesDeleted(id);
      return;
    }
    const upload = await this.#r.store.get(id);
    if (upload) await this.#letIn(upload);
  }

  async #remove(id: string): Promise<void> {
    await this.#incoming.delete(id);
    await this.#r.snapshots.delete(id);
    await this.#forgetSize(id);
    this.#rsync?.forget(id);
    await this.#r.store.markFilesDeleted(id);
  }

  /** Opens the upload to rsync, if it takes files and there is a daemon. */
  async #letIn(upload: Upload): Promise<void> {
    if (!this.#rsync || upload.state !== 'uploading' || isPast(upload) || this.#rsync.address === null)
      return;
    const base = upload.baseId === null ? null : await this.#r.snapshots.materialise(upload.baseId);
    this.#rsync.open(upload.id, this.#incoming.path(upload.id), base);
  }

  /** What a new rsync connection is told: the bytes that a file of it may have, or why it is refused. */
  async #admit(id: string): Promise<number | string> {
    try {
      const { baseId } = await this.#open(id, null);
      if (this.#writers.has(id)) return 'A tar stream is being stored in this upload; one at a time.';
      if (this.#closing.has(id)) return 'This upload is being closed.';
      await this.#mend(id);
      if (await this.#r.snapshots.has(id)) return 'The finalization of this upload has begun.';
      const bytes = await this.#incomingSizes();
      const present = await this.#incoming.measure(id);
      bytes.set(id, present);
      const room = (await this.#room(bytes))() + present;
      // The gate copies it before the transfer begins.
      if (baseId !== null && !(await this.#incoming.isFull(id))) {
        bytes.set(id, (await this.#r.store.get(baseId))?.sizeBytes ?? 0);
      }
      const largest = Math.min(this.#r.limits.oneBytes, room);
      return largest > 0 ? largest : 'insufficient_storage: all uploads together have reached their limit.';
    } catch (error) {
      if (error instanceof FlashpodsError) return `${error.code}: ${error.message}`;
      throw error;
    }
  }

  /**
   * Looks at an upload into which rsync writes, or wrote until now. Over a limit it is over, and its tree goes.
   * @param grownBytes at most so much came since the last look; null: nobody knows, or the transfer has ended
   * @returns whether it was measured
   */
  async #look(id: string, grownBytes: number | null): Promise<boolean> {
    const bytes = await this.#incomingSizes();
    const room = await this.#room(bytes);
    const isOver = (grown: number): boolean =>
      (bytes.get(id) ?? 0) + grown > this.#r.limits.oneBytes || room() < grown;
    if (grownBytes !== null && !isOver(grownBytes)) return false;
    if (this.#closing.has(id)) return true;
    bytes.set(id, await this.#incoming.measure(id));
    if (!isOver(0)) return true;
    this.#r.logger.warn({ upload_id: id }, 'a transfer by rsync went over a limit; ending it');
    await this.#exclusively(id, async () => {
      if (await this.#r.store.expire(id)) await this.#remove(id);
    });
    return true;
  }

  /** Bytes that all uploads together may still take, asked anew for every piece that comes. */
  async #room(bytes: Map<string, number>): Promise<() => number> {
    const finalized = await this.#r.store.storedBytes();
    // The sweep of another process may have been there.
    const known = await this.#r.store.knownIds();
    for (const id of bytes.keys()) if (!known.has(id)) bytes.delete(id);
    return () => {
      let used = finalized;
      for (const size of bytes.values()) used += size;
      for (const writer of this.#writers.values()) used += writer.bytes;
      return this.#r.limits.totalBytes - used;
    };
  }

  /** Measured once, when the first stream comes after a start; then kept up to date. */
  #incomingSizes(): Promise<Map<string, number>> {
    this.#incomingBytes ??= this.#measureAll().catch((error: unknown) => {
      this.#incomingBytes = null;
      throw error;
    });
    return this.#incomingBytes;
  }

  async #measureAll(): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for (const id of await this.#incoming.ids()) sizes.set(id, await this.#incoming.measure(id));
    return sizes;
  }

  async #forgetSize(id: string): Promise<void> {
    (await this.#incomingBytes)?.delete(id);
  }
}

/** Nothing may be done with it any longer, whether or not the sweep has been there already. */
const isPast = (upload: Upload): boolean =>
  (upload.state === 'uploading' || upload.state === 'finalized') &&
  upload.jobId === null &&
  upload.expiresAt <= Date.now();

const overOne = (): FlashpodsError =>
  new FlashpodsError('insufficient_storage', 'The upload is over its limit.');

const wrongDeletion = (what: string): FlashpodsError =>
  new FlashpodsError('invalid_request', `delete: ${what}`, { details: { field: 'delete' } });

function translate(error: unknown): unknown {
  switch (systemCode(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new FlashpodsError('insufficient_storage', 'The disk of the server is full.', { cause: error });
    default:
      return isDecoderError(error)
        ? new FlashpodsError('invalid_request', 'the body: not valid gzip or zstd', {
            cause: error,
            details: { field: '' },
          })
        : error;
  }
}

/** zlib's names: `Z_DATA_ERROR` and the like of gzip, `ZSTD_error_…` of zstd. */
const isDecoderError = (error: unknown): boolean => /^Z(STD)?_/.test(systemCode(error) ?? '');
