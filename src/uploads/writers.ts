import { setTimeout as delay } from 'node:timers/promises';
import { FlashpodsError } from '../errors.ts';
import { MAX_STREAMS, MAX_STREAMS_OF_OWNER } from './limits.ts';
import type { UploadParts } from './parts.ts';
import type { TarIntake } from './tar/tar-intake.ts';
import { isPast, type Upload } from './upload.ts';

/** A connection of rsync whose client has all it wants ends by itself. */
const RSYNC_ENDS_MS = 1_000;
const LOOK_MS = 20;
/** A stream has mostly ended by then. */
const STREAM_ENDS_S = 5;

type Parts = Pick<UploadParts, 'store' | 'incoming' | 'snapshots' | 'rsync'>;

/**
 * Who writes into uploads: one at a time each, a tar stream, a connection of rsync, or what finalizes or deletes it.
 * Streams are counted and ended in the memory of the one process that receives them.
 */
export class Writers {
  readonly #p: Parts;
  readonly #streams = new Map<string, { readonly owner: string; readonly intake: TarIntake }>();
  /** Finalizations and deletions under way, by upload. */
  readonly #closing = new Map<string, Promise<unknown>>();

  constructor(parts: Parts) {
    this.#p = parts;
  }

  isStreaming(id: string): boolean {
    return this.#streams.has(id);
  }

  isClosing(id: string): boolean {
    return this.#closing.has(id);
  }

  /** What the streams of this moment have brought. @param owner null: of all */
  streamedBytes(owner: string | null): number {
    let bytes = 0;
    for (const stream of this.#streams.values())
      if (owner === null || stream.owner === owner) bytes += stream.intake.bytes;
    return bytes;
  }

  /** Opens the upload to rsync, if it takes files and there is a daemon. Can be called again. */
  async letIn(upload: Upload): Promise<void> {
    const { rsync, incoming, snapshots } = this.#p;
    if (upload.state !== 'uploading' || isPast(upload) || rsync.address === null) return;
    const base = upload.baseId === null ? null : await snapshots.materialise(upload.baseId);
    rsync.open(upload.id, incoming.path(upload.id), base);
  }

  /** {@link letIn} for an upload of which a step came to nothing. */
  async letInAgain(id: string): Promise<void> {
    const upload = await this.#p.store.get(id);
    if (upload) await this.letIn(upload);
  }

  /** Resolves when the upload is neither finalized nor deleted at the moment. @returns whether it had to wait */
  async afterClosing(id: string): Promise<boolean> {
    const closing = this.#closing.get(id);
    await closing?.catch(() => undefined);
    return closing !== undefined;
  }

  /**
   * Runs `work` with the only stream into the upload. To be called in the same turn in which it was seen that the
   * upload is not being closed.
   * @param begin makes the stream, which is closed here
   * @throws FlashpodsError quota_exceeded when somebody else writes; rate_limited while there are too many streams
   */
  async stream<T>(
    { id, owner }: Pick<Upload, 'id' | 'owner'>,
    begin: () => TarIntake,
    work: (stream: TarIntake) => Promise<T>,
  ): Promise<T> {
    if (this.#streams.has(id)) throw busy();
    this.#limit(owner);
    const stream = begin();
    this.#streams.set(id, { owner, intake: stream });
    try {
      // A connection that comes after this look is refused for the stream that stands in the map.
      for (let waitedMs = 0; this.#p.rsync.isWriting(id); waitedMs += LOOK_MS) {
        if (waitedMs >= RSYNC_ENDS_MS) throw busy();
        await delay(LOOK_MS);
      }
      return await work(stream);
    } finally {
      this.#streams.delete(id);
      stream.close();
    }
  }

  #limit(owner: string): void {
    const own = [...this.#streams.values()].filter((stream) => stream.owner === owner).length;
    if (own >= MAX_STREAMS_OF_OWNER || this.#streams.size >= MAX_STREAMS) {
      throw new FlashpodsError(
        'rate_limited',
        own >= MAX_STREAMS_OF_OWNER
          ? `${MAX_STREAMS_OF_OWNER} streams of this owner are being stored, which is the limit; wait until one has ended.`
          : `${MAX_STREAMS} streams are being stored, which is the limit; wait until one has ended.`,
        { details: { retry_after_seconds: STREAM_ENDS_S } },
      );
    }
  }

  /** Runs `work` when nobody else changes the upload, its writers ended first. When it throws rsync is let in again. */
  async exclusively<T>(id: string, work: () => Promise<T>): Promise<T> {
    while (this.#closing.has(id)) await this.afterClosing(id);
    const run = (async () => {
      await this.#streams.get(id)?.intake.end();
      await this.#p.rsync.close(id, this.#p.incoming.path(id));
      try {
        return await work();
      } catch (error) {
        await this.letInAgain(id);
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
}

const busy = (): FlashpodsError =>
  new FlashpodsError('quota_exceeded', 'Another stream is being stored in this upload; one at a time.');
