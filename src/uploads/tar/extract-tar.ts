import type { Readable } from 'node:stream';
import { addAbortListener } from 'node:events';
import { FlashpodsError, systemCode, isDiskFull } from '../../errors.ts';
import { Directory } from '../../trees/directory.ts';
import { isInTheWay } from '../tree.ts';
import { type Extracted, Extraction, type ExtractLimits } from './extraction.ts';
import { refusal } from './tar-entry.ts';
import { TarReader } from './tar-reader.ts';

/** Two blocks of zeros end a tar; without them it may have been cut off between two entries. */
const END_BYTES = 1024;

/**
 * Unpacks a tar stream (not compressed; pipe it through a decoder first) into an existing directory: files,
 * directories, symlinks and hard links that stay inside, with modes (no setuid, setgid, sticky) and times. Later
 * entries replace earlier ones; a file is always made anew, never written into one that is there.
 * Nothing outside the directory is read or written, for any stream and no matter who else writes there.
 * When it returns everything is stored. When it throws, the tree holds a part of the entries, each whole, and the
 * caller removes it; `stream` is destroyed then.
 *
 * @throws FlashpodsError invalid_request for an entry that is refused, and for what is no whole tar;
 *   insufficient_storage over a limit or with a full disk; what `stream` failed with; the reason of `signal`
 */
export const extractTar = async (
  stream: Readable,
  destination: string,
  limits: ExtractLimits,
  signal?: AbortSignal,
): Promise<Extracted> => {
  const root = await Directory.open(destination);
  const extraction = new Extraction(root, limits);
  let failed: unknown = null;
  stream.once('error', (error) => (failed ??= error));
  const listening = signal && addAbortListener(signal, () => stream.destroy(signal.reason as Error));
  const tar = new TarReader(wholeTar(stream, extraction), extraction.budget);
  try {
    try {
      for (let header = await tar.next(); header !== null; header = await tar.next())
        await extraction.entry(header, tar.content());
    } finally {
      await tar.close();
    }
    await extraction.finish();
    return extraction.extracted;
  } catch (error) {
    signal?.throwIfAborted();
    throw translate(error, error === failed);
  } finally {
    listening?.[Symbol.dispose]();
    await extraction.close();
    await root.close();
    stream.destroy();
  }
};

const translate = (error: unknown, ofStream: boolean): unknown => {
  if (error instanceof FlashpodsError || ofStream) return error;
  const code = systemCode(error);
  if (isDiskFull(error)) {
    return new FlashpodsError('insufficient_storage', 'The disk of the server is full.', { cause: error });
  }
  if (code === 'ERR_STREAM_PREMATURE_CLOSE') return refusal('the body: it ended early', error);
  if (isInTheWay(error) || code === 'ENOENT') {
    return refusal('the files: something else has changed them meanwhile', error);
  }
  return error;
};

/**
 * Passes a tar on and fails when it does not end as one, or is much longer than its entries: endless zeros after the
 * end, and headers that would fill the memory.
 */
async function* wholeTar(source: AsyncIterable<Buffer>, extraction: Extraction): AsyncGenerator<Buffer> {
  let end: Buffer = Buffer.alloc(0);
  let seen = 0;
  for await (const chunk of source) {
    end =
      chunk.length >= END_BYTES
        ? chunk.subarray(-END_BYTES)
        : Buffer.concat([end, chunk]).subarray(-END_BYTES);
    yield chunk;
    // Checked when the next piece comes: what was passed on has been parsed by then.
    if (seen > extraction.expectedBytes) throw refusal('the body: it is much longer than the tar in it');
    seen += chunk.length;
  }
  if (end.length < END_BYTES || end.some((byte) => byte !== 0)) {
    throw refusal('the body: not a whole tar stream (its end is missing)');
  }
}
