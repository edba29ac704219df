/** What can be done with uploads: the states, the limits, and where their files lie. */
import type { Readable } from 'node:stream';
import type { Config } from '../config.ts';
import { FlashpodsError, systemCode } from '../errors.ts';
import { isUploadId, newUploadId } from '../ids.ts';
import type { Logger } from '../observability/logger.ts';
import { extractTar } from './extract.ts';
import { type Encoding, TarIntake } from './tar-intake.ts';
import { removeTree, type TreeFacts, type TreeOwner } from './tree.ts';
import type { Upload, UploadStore } from './upload.ts';
import { type Mark, UploadFiles } from './upload-files.ts';

export { snapshotPath } from './upload-files.ts';

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
  readonly uploadsPath: string;
  readonly limits: UploadLimits;
  /** Host uid and gid that snapshots are given to: root of the containers. Null: their files stay ours. */
  readonly idBase: number | null;
  readonly logger: Logger;
}

const SWEEP_BATCH = 100;

/**
 * A row's state is the truth; a step that a crash interrupted is done again by whoever comes next. Streams are
 * counted and ended in the memory of the one process that receives them.
 */
export class UploadService {
  readonly #r: UploadServiceResources;
  readonly #files: UploadFiles;
  /** Streams that are being unpacked, by upload: one at a time each. */
  readonly #writers = new Map<string, TarIntake>();
  /** Finalizations and deletions under way, by upload. */
  readonly #closing = new Map<string, Promise<unknown>>();
  /** Bytes of the files in `incoming`, by upload. */
  #incomingBytes: Promise<Map<string, number>> | null = null;

  constructor(resources: UploadServiceResources) {
    this.#r = resources;
    this.#files = new UploadFiles(resources.uploadsPath);
  }

  /** @param id the caller's own, checked already @throws FlashpodsError invalid_request when it is taken */
  create(owner: string, id: string = newUploadId()): Promise<Upload> {
    return this.#r.store.create({ id, owner, expiresAt: Date.now() + this.#r.limits.openMs });
  }

  /** @param viewer an owner, who sees only what is its own, or null @throws FlashpodsError upload_not_found */
  async get(id: string, viewer: string | null): Promise<Upload> {
    const upload = isUploadId(id) ? await this.#r.store.get(id) : null;
    if (!upload || (viewer !== null && upload.owner !== viewer)) {
      throw new FlashpodsError('upload_not_found', `There is no upload ${JSON.stringify(id.slice(0, 64))}.`);
    }
    return isPast(upload) ? { ...upload, state: 'expired' } : upload;
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
    if (this.#writers.has(id)) {
      throw new FlashpodsError(
        'quota_exceeded',
        'Another stream is being stored in this upload; one at a time.',
      );
    }
    const intake = new TarIntake(body, encoding, this.#r.limits.idleMs);
    this.#writers.set(id, intake);
    try {
      return { upload, received: await this.#store(id, intake) };
    } finally {
      this.#writers.delete(id);
      intake.close();
    }
  }

  async #store(id: string, intake: TarIntake): Promise<{ files: number; bytes: number }> {
    await this.#mend(id);
    if (await this.#files.hasSnapshot(id)) {
      throw new FlashpodsError('upload_already_finalized', 'Its finalization has begun; repeat that.');
    }
    const bytes = await this.#incomingSizes();
    const before = bytes.get(id) ?? 0;
    intake.limit(await this.#room(bytes));
    const mark = await this.#files.begin(id);
    try {
      const received = await extractTar(intake.tar, this.#files.incoming(id), {
        maxBytes: this.#r.limits.oneBytes - before,
      });
      bytes.set(id, before + received.bytes);
      await this.#files.finish(id);
      return received;
    } catch (thrown) {
      const error = intake.reason ?? thrown;
      if (intake.ended) {
        // Ended for a finalization or a deletion, which decides what becomes of the tree.
        await this.#files.finish(id);
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
  async finalize(id: string, viewer: string | null, options: { reusable: boolean }): Promise<Upload> {
    await this.#open(id, viewer);
    return this.#exclusively(id, async () => {
      await this.#open(id, viewer);
      await this.#mend(id);
      const facts = await this.#seal(id);
      await this.#forgetSize(id);
      const upload = await this.#r.store.finalize(id, {
        ...facts,
        expiresAt: Date.now() + this.#r.limits.unusedMs,
        reusable: options.reusable,
      });
      if (upload) return upload;
      await this.#open(id, viewer);
      throw new Error(`upload ${id} is open and could not be finalized`);
    });
  }

  /** After a tree that may not become a snapshot the upload is open and empty again. */
  async #seal(id: string): Promise<TreeFacts> {
    try {
      return await this.#files.seal(id, this.#owner());
    } catch (error) {
      if (error instanceof FlashpodsError) await this.#files.removeSnapshot(id);
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
      // Jobs may still be using a shared one: the sweep takes its files when none is.
      if (!upload.reusable) await this.#remove(id);
    });
  }

  snapshotPath(id: string): string {
    return this.#files.snapshot(id);
  }

  /**
   * Deletes the files of every upload that is over, and every directory that no row knows. What fails is left for the
   * next time; what is interrupted is done again. @returns uploads and directories that went
   */
  async sweep(): Promise<number> {
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
          if (!over) return;
          await this.#remove(id);
          removed += 1;
        }).catch((error: unknown) => {
          this.#r.logger.warn({ err: error, upload_id: id }, 'the files of an upload could not be deleted');
        });
      }
    }
  }

  async #sweepOrphans(): Promise<number> {
    const entries = await this.#files.entries();
    // Rows are asked for after the directories were seen: a row is older than its directory.
    const known = await this.#r.store.knownIds();
    let removed = 0;
    for (const { path, id } of entries) {
      if (known.has(id) || this.#writers.has(id)) continue;
      try {
        await removeTree(path);
        removed += 1;
      } catch (error) {
        this.#r.logger.warn(
          { err: error, path },
          'a directory that belongs to no upload could not be deleted',
        );
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
      return work();
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
    const mark = await this.#files.unfinished(id);
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
    await this.#files.removeIncoming(id);
    if (mark === 'more') await this.#r.store.markFilesDeleted(id);
  }

  async #remove(id: string): Promise<void> {
    await this.#files.remove(id);
    await this.#forgetSize(id);
    await this.#r.store.markFilesDeleted(id);
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
    this.#incomingBytes ??= this.#files.incomingBytes().catch((error: unknown) => {
      this.#incomingBytes = null;
      throw error;
    });
    return this.#incomingBytes;
  }

  async #forgetSize(id: string): Promise<void> {
    (await this.#incomingBytes)?.delete(id);
  }

  /** Only root may give files away. */
  #owner(): TreeOwner | null {
    const { idBase } = this.#r;
    return idBase === null || process.getuid?.() !== 0 ? null : { uid: idBase, gid: idBase };
  }
}

/** Nothing may be done with it any longer, whether or not the sweep has been there already. */
const isPast = (upload: Upload): boolean =>
  (upload.state === 'uploading' || upload.state === 'finalized') &&
  upload.jobId === null &&
  upload.expiresAt <= Date.now();

function translate(error: unknown): unknown {
  switch (systemCode(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new FlashpodsError('insufficient_storage', 'The disk of the server is full.', { cause: error });
    case 'Z_DATA_ERROR':
    case 'Z_BUF_ERROR':
      return new FlashpodsError('invalid_request', 'the body: not valid gzip', {
        cause: error,
        details: { field: '' },
      });
    default:
      return error;
  }
}
