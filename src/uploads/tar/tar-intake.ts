import { type Readable, Transform } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { FlashpodsError } from '../../errors.ts';
import { refusal } from './tar-entry.ts';

export const ENCODINGS = ['identity', 'gzip', 'zstd'] as const;
export type Encoding = (typeof ENCODINGS)[number];

export const isEncoding = (value: string): value is Encoding =>
  (ENCODINGS as readonly string[]).includes(value);

/**
 * A request's body on its way to be unpacked: decoded, counted, limited, watched for silence. Its source is never
 * destroyed, since an answer must still go back over the same socket.
 */
export class TarIntake {
  readonly tar: Transform;
  /** Bytes that went through since the stream began. */
  bytes = 0;
  /** Set when it was ended by {@link end}. */
  ended = false;
  /** Why it was destroyed here, if it was. */
  reason: Error | null = null;
  readonly #source: Readable;
  readonly #decoder: Transform | null;
  readonly #idleMs: number;
  readonly #closed = Promise.withResolvers<void>();
  #room: () => number = () => Infinity;
  #idle: NodeJS.Timeout | null = null;

  constructor(source: Readable, encoding: Encoding, idleMs: number) {
    this.#source = source;
    this.#idleMs = idleMs;
    this.tar = new Transform({ transform: (chunk: Buffer, _encoding, done) => this.#count(chunk, done) });
    // Whoever unpacks may not be listening yet, or no longer, when it breaks off.
    this.tar.on('error', () => undefined);
    this.#decoder = decoderOf(encoding);
    this.#decoder?.on('error', (error) => this.#fail(error));
    source.on('error', this.#onSourceError).on('close', this.#onSourceClose);
    source.on('data', this.#onData).on('end', this.#onEnd);
    if (this.#decoder) source.pipe(this.#decoder).pipe(this.tar);
    else source.pipe(this.tar);
    this.#onData();
  }

  /** Fails the stream with `insufficient_storage` as soon as `room` is below zero. */
  limit(room: () => number): void {
    this.#room = room;
    // Some of it may have come before anybody knew the limit.
    if (room() < 0) this.#fail(overTotal());
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

  /** To be called when nobody reads `tar` any longer; what still comes from the source is thrown away. */
  close(): void {
    this.#onEnd();
    this.#source.off('error', this.#onSourceError).off('close', this.#onSourceClose);
    this.#source.off('data', this.#onData).off('end', this.#onEnd);
    this.#source.unpipe();
    this.#decoder?.destroy();
    this.tar.destroy();
    this.#source.resume();
    this.#closed.resolve();
  }

  readonly #onSourceError = (error: Error): void => this.#fail(error);

  readonly #onSourceClose = (): void => {
    if (!this.#source.readableEnded) this.#fail(refusal('the body: it ended early'));
  };

  readonly #onData = (): void => {
    if (this.#idle) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      const seconds = this.#idleMs / 1_000;
      this.#fail(refusal(`the body: nothing came for ${seconds} seconds`));
    }, this.#idleMs);
  };

  /** Unpacking what has come may take as long as it takes. */
  readonly #onEnd = (): void => {
    if (this.#idle) clearTimeout(this.#idle);
  };

  #count(chunk: Buffer, done: (error: Error | null, chunk?: Buffer) => void): void {
    this.bytes += chunk.length;
    if (this.#room() >= 0) {
      done(null, chunk);
      return;
    }
    this.reason ??= overTotal();
    done(this.reason);
  }

  #fail(error: Error): void {
    this.reason ??= error;
    this.tar.destroy(this.reason);
  }
}

const overTotal = (): FlashpodsError =>
  new FlashpodsError('insufficient_storage', 'All uploads together have reached their limit.');

function decoderOf(encoding: Encoding): Transform | null {
  switch (encoding) {
    case 'identity':
      return null;
    case 'gzip':
      return createGunzip();
    case 'zstd':
      // Refuses frames that want a window of more than 128 MiB by itself.
      return createZstdDecompress();
  }
}
