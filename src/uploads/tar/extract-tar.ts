import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import { FlashpodsError, systemCode } from '../../errors.ts';
import { Directory } from '../../trees/directory.ts';
import { isInTheWay } from '../tree.ts';
import { type Extracted, Extraction, type ExtractLimits } from './extraction.ts';
import { type Content, type EntryHeader, refusal } from './tar-entry.ts';

/** Two blocks of zeros end a tar; without them it may have been cut off between two entries. */
const END_BYTES = 1024;
/** Names as bytes: they need not be UTF-8. (tar-stream's types do not know the option.) */
const RAW_NAMES = { filenameEncoding: 'latin1', highWaterMark: 64 * 1024 };

/**
 * Unpacks a tar stream (not compressed; pipe it through a decoder first) into an existing directory: files,
 * directories, symlinks and hard links that stay inside, with modes (no setuid, setgid, sticky) and times. Later
 * entries replace earlier ones; a file is always made anew, never written into one that is there.
 * Nothing outside the directory is read or written, whatever the stream holds and whoever else writes there.
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
  // The first to fail is the cause: the pipeline destroys the other one with the same error.
  let failed: 'stream' | 'tar' | null = null;
  stream.once('error', () => (failed ??= 'stream'));
  let working: Promise<void> = Promise.resolve();
  const tar = extract(RAW_NAMES);
  tar.once('error', () => (failed ??= 'tar'));
  tar.on('entry', (header, content, next) => {
    // It fails with the tar, which is where that is dealt with.
    content.on('error', () => undefined);
    working = extraction.entry(header as EntryHeader, content as Content);
    working.then(
      () => next(),
      (error: unknown) => next(error instanceof Error ? error : new Error(String(error))),
    );
  });
  try {
    try {
      await pipeline(stream, wholeTar(extraction), tar, signal === undefined ? {} : { signal });
    } finally {
      // Nothing goes on behind the caller's back.
      await working.catch(() => undefined);
    }
    await working;
    await extraction.finish();
    return extraction.extracted;
  } catch (error) {
    signal?.throwIfAborted();
    throw translate(error, failed === 'stream');
  } finally {
    await extraction.close();
    await root.close();
  }
};

const translate = (error: unknown, ofStream: boolean): unknown => {
  if (error instanceof FlashpodsError || ofStream) return error;
  const code = systemCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FlashpodsError('insufficient_storage', 'The disk of the server is full.', { cause: error });
  }
  if (code === 'ERR_STREAM_PREMATURE_CLOSE') return refusal('the body: it ended early', error);
  if (isInTheWay(error) || code === 'ENOENT') {
    return refusal('the files: something else has changed them meanwhile', error);
  }
  // Without a system's code it comes from the parser.
  if (code === undefined && error instanceof Error) {
    return refusal('the body: not a whole tar stream (is it compressed, or cut off?)', error);
  }
  return error;
};

/**
 * Passes a tar on and fails when it does not end as one, or is much longer than its entries: endless zeros after the
 * end, and headers that would fill the memory.
 */
const wholeTar = (extraction: Extraction) =>
  async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
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
  };
