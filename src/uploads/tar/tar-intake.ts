import { PassThrough, type Readable } from 'node:stream';
import { FlashpodsError } from '../../errors.ts';
import type { Room } from '../total-room.ts';
import { refusal } from './tar-entry.ts';

export const ENCODINGS = ['identity', 'gzip', 'zstd'] as const;
export type Encoding = (typeof ENCODINGS)[number];

export const isEncoding = (value: string): value is Encoding =>
  (ENCODINGS as readonly string[]).includes(value);

/**
 * A request's body on its way to be unpacked elsewhere: passed on as it is, limited, watched for silence. Its source is
 * never destroyed, since an answer must still go back over the same socket.
 */
export class TarIntake {
  readonly body = new PassThrough();
  /** Bytes of the source that came. */
  arrivedBytes = 0;
  /** What it takes of the limits: set as its receiver tells it. */
  bytes = 0;
  /** Set when it was ended by {@link end}. */
  ended = false;
  /** Why it was destroyed here, if it was. */
  reason: Error | null = null;
  readonly #source: Readable;
  readonly #idleMs: number;
  readonly #stopping = new AbortController();
  readonly #closed = Promise.withResolvers<void>();
  #room: Room | null = null;
  #idle: NodeJS.Timeout | null = null;

  constructor(source: Readable, idleMs: number) {
    this.#source = source;
    this.#idleMs = idleMs;
    // The unpacker may not be listening yet, or no longer, when it breaks off.
    this.body.on('error', () => undefined);
    source.on('error', this.#onSourceError).on('close', this.#onSourceClose);
    source.on('data', this.#onData).on('end', this.#onEnd);
    source.pipe(this.body);
    this.#watch();
  }

  /** Aborted, with the reason, when it breaks off. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** From here on it may not take more than that. */
  limit(room: Room): void {
    this.#room = room;
    if (room.bytes() < 0) this.#fail(room.error());
  }

  /** It takes so much of the limits by now. @throws why it may not */
  took(bytes: number): void {
    this.bytes = bytes;
    if (this.#room !== null && this.#room.bytes() < 0) this.#fail(this.#room.error());
    if (this.reason !== null) throw this.reason;
  }

  /** Breaks the stream off for what else became of its upload. */
  fail(error: FlashpodsError): void {
    this.#fail(error);
  }

  /** Breaks the stream off; resolves when its receiver has let go of it. */
  async end(): Promise<void> {
    this.ended = true;
    this.#fail(
      new FlashpodsError('upload_already_finalized', 'The upload was closed while files were coming.'),
    );
    await this.#closed.promise;
  }

  /** To be called when nobody reads `body` any longer; what still comes from the source is thrown away. */
  close(): void {
    this.#onEnd();
    this.#source.off('error', this.#onSourceError).off('close', this.#onSourceClose);
    this.#source.off('data', this.#onData).off('end', this.#onEnd);
    this.#source.unpipe();
    this.body.destroy();
    this.#source.resume();
    this.#closed.resolve();
  }

  readonly #onSourceError = (error: Error): void => this.#fail(error);

  readonly #onSourceClose = (): void => {
    if (!this.#source.readableEnded) this.#fail(refusal('the body: it ended early'));
  };

  readonly #onData = (chunk: Buffer): void => {
    this.arrivedBytes += chunk.length;
    this.#watch();
  };

  /** Unpacking what has come may take as long as it takes. */
  readonly #onEnd = (): void => {
    if (this.#idle) clearTimeout(this.#idle);
  };

  #watch(): void {
    if (this.#idle) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      const seconds = this.#idleMs / 1_000;
      this.#fail(refusal(`the body: nothing came for ${seconds} seconds`));
    }, this.#idleMs);
  }

  #fail(error: Error): void {
    this.reason ??= error;
    this.body.destroy(this.reason);
    this.#stopping.abort(this.reason);
  }
}
