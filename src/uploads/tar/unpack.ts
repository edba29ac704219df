/** A stream on its way into a tree: decoded, counted, unpacked. Done in a tree process. */
import { pipeline, Readable, type Transform } from 'node:stream';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { systemCode } from '../../errors.ts';
import type { Spent } from '../../trees/budget.ts';
import { extractTar } from './extract-tar.ts';
import type { Extracted, ExtractLimits } from './extraction.ts';
import { refusal } from './tar-entry.ts';
import type { Encoding } from './tar-intake.ts';

/** As far as decoding goes before the limits are looked at again. */
const LOOK_BYTES = 256 * 1024;
/** 8 MiB, as all decoders of zstd have to take; more is memory that a few bytes can ask for. */
const ZSTD_WINDOW_LOG = 23;

export interface UnpackRequest {
  readonly path: string;
  readonly encoding: Encoding;
  readonly limits: ExtractLimits;
}

export interface Unpacked {
  readonly received: Extracted;
  /** See `weightOf`. */
  readonly weightBytes: number;
  /** Of the whole tree, earlier streams counted. */
  readonly spent: Spent;
}

/** @throws as `extractTar` */
export async function unpack(
  { path, encoding, limits }: UnpackRequest,
  context: {
    readonly input: AsyncIterable<Buffer>;
    readonly signal: AbortSignal;
    /** Is told what the stream takes of the limits by now. @throws to end it */
    readonly progress: (bytes: number) => Promise<void>;
  },
): Promise<Unpacked> {
  let decodedBytes = 0;
  let weightBytes = 0;
  let spent: Spent = limits.spent ?? { entries: 0, nameBytes: 0 };
  const used = (): number => Math.max(decodedBytes, weightBytes);
  const input = Readable.from(context.input, { objectMode: false });
  const decoder = decoderOf(encoding);
  const decoded: AsyncIterable<Buffer> = decoder ? pipeline(input, decoder, () => undefined) : input;
  const counted = async function* (): AsyncGenerator<Buffer> {
    let told = 0;
    for await (const chunk of decoded) {
      decodedBytes += chunk.length;
      yield chunk;
      if (used() - told < LOOK_BYTES) continue;
      told = used();
      await context.progress(told);
    }
  };
  const onEntry = (weight: number, now: Spent): void => {
    weightBytes = weight;
    spent = now;
  };
  try {
    const received = await extractTar(
      Readable.from(counted(), { objectMode: false }),
      path,
      { ...limits, onEntry },
      context.signal,
    );
    await context.progress(used());
    return { received, weightBytes, spent };
  } catch (error) {
    // zlib's names: `Z_DATA_ERROR` and the like of gzip, `ZSTD_error_…` of zstd.
    const code = systemCode(error) ?? '';
    if (/windowTooLarge/i.test(code)) {
      throw refusal(
        'the body: zstd with a window of more than 8 MiB; compress without --long and --ultra',
        error,
      );
    }
    if (/^Z(STD)?_/.test(code)) throw refusal('the body: not valid gzip or zstd', error);
    throw error;
  } finally {
    decoder?.destroy();
  }
}

function decoderOf(encoding: Encoding): Transform | null {
  switch (encoding) {
    case 'identity':
      return null;
    case 'gzip':
      return createGunzip();
    case 'zstd':
      return createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG } });
  }
}
