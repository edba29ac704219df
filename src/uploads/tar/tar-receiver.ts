import type { Readable } from 'node:stream';
import { FlashpodsError, isDiskFull } from '../../errors.ts';
import { openUntil } from '../limits.ts';
import type { UploadParts } from '../parts.ts';
import type { Upload } from '../upload.ts';
import type { Extracted } from './extraction.ts';
import { NO_USE } from '../total-room.ts';
import { MUNGED_PREFIX } from '../rsync/munged.ts';
import { type Encoding, TarIntake } from './tar-intake.ts';

type Parts = Pick<
  UploadParts,
  'store' | 'states' | 'writers' | 'files' | 'incoming' | 'snapshots' | 'room' | 'limits' | 'rsync' | 'trees'
>;

/** Takes the files of uploads as tar streams. */
export class TarReceiver {
  readonly #p: Parts;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  /**
   * Unpacks a tar stream into the upload; when it returns all of it is stored. A stream that fails leaves nothing
   * behind: the tree is as empty as before or, if it held files, the whole upload is over.
   * @throws FlashpodsError for the upload's state, another stream at the same time (quota_exceeded), too many streams
   *   (rate_limited), a limit (insufficient_storage), and a stream that is no tar or wants out of the tree (invalid_request)
   */
  async receive(
    id: string,
    viewer: string | null,
    body: Readable,
    encoding: Encoding,
  ): Promise<{ upload: Upload; received: Extracted }> {
    const { states, writers, limits } = this.#p;
    let upload = await states.open(id, viewer);
    while (writers.isClosing(id)) {
      await writers.afterClosing(id);
      upload = await states.open(id, viewer);
    }
    const begin = (): TarIntake => new TarIntake(body, limits.idleMs);
    const received = await writers.stream(upload, begin, async (intake) => {
      const life = new StreamLife(upload, intake, this.#p);
      try {
        return await this.#store(upload, encoding, intake, life);
      } finally {
        life.stop();
      }
    });
    return { upload: await states.get(id, viewer), received };
  }

  async #store(
    { id, owner }: Upload,
    encoding: Encoding,
    intake: TarIntake,
    life: StreamLife,
  ): Promise<Extracted> {
    const { files, snapshots, incoming, room, limits, rsync, trees } = this.#p;
    await files.mend(id);
    if (await snapshots.has(id)) {
      throw new FlashpodsError('upload_already_finalized', 'Its finalization has begun; repeat that.');
    }
    const sizes = await room.sizes();
    const before = sizes.get(id) ?? NO_USE;
    intake.limit(await room.left(owner));
    const mark = await incoming.begin(id);
    try {
      const left = limits.oneBytes - before.weightBytes;
      const { received, weightBytes, spent } = await trees.run(
        'unpack',
        {
          path: incoming.path(id),
          encoding,
          limits: {
            maxBytes: left,
            maxWeight: left,
            spent: { entries: before.entries, nameBytes: before.nameBytes },
            ...(rsync.munges ? { linkPrefix: MUNGED_PREFIX } : {}),
          },
        },
        { input: intake.body, signal: intake.signal, onBytes: (bytes) => intake.took(bytes) },
      );
      // Nobody is told that something is stored which is gone.
      await life.end();
      sizes.set(id, { ...spent, weightBytes: before.weightBytes + weightBytes });
      await incoming.finish(id);
      return received;
    } catch (thrown) {
      const error = intake.reason ?? thrown;
      if (intake.ended) {
        // Ended for a finalization or a deletion, which decides what becomes of the tree.
        await incoming.finish(id);
      } else {
        await files.discard(id, mark);
        // The sweep of another process may have taken the tree away under this stream.
        if (!(error instanceof FlashpodsError)) await this.#p.states.open(id, null);
      }
      throw translate(error);
    }
  }
}

/** While a stream brings something its upload stays alive, up to its longest life. */
class StreamLife {
  readonly #upload: Upload;
  readonly #intake: TarIntake;
  readonly #p: Parts;
  readonly #timer: NodeJS.Timeout;
  #seenBytes = 0;

  constructor(upload: Upload, intake: TarIntake, parts: Parts) {
    this.#upload = upload;
    this.#intake = intake;
    this.#p = parts;
    const everyMs = Math.max(1, Math.min(10_000, parts.limits.openMs / 4));
    this.#timer = setInterval(() => void this.#look(), everyMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** @throws FlashpodsError upload_expired when its time was over before the stream was */
  async end(): Promise<void> {
    this.stop();
    const { store, limits } = this.#p;
    if (!(await store.prolong(this.#upload.id, openUntil(this.#upload, limits)))) {
      await this.#p.states.open(this.#upload.id, null);
      throw new FlashpodsError('upload_expired');
    }
  }

  async #look(): Promise<void> {
    const { store, limits } = this.#p;
    const isIdle = this.#intake.arrivedBytes === this.#seenBytes;
    this.#seenBytes = this.#intake.arrivedBytes;
    if (isIdle) return;
    // A database that is away is no reason to break a stream off: the end of it tells.
    const lives = await store.prolong(this.#upload.id, openUntil(this.#upload, limits)).catch(() => true);
    if (!lives) this.#intake.fail(new FlashpodsError('upload_expired'));
  }
}

function translate(error: unknown): unknown {
  if (isDiskFull(error)) {
    return new FlashpodsError('insufficient_storage', 'The disk of the server is full.', { cause: error });
  }
  return error;
}
