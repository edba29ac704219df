import { constants } from 'node:fs';
import { type FileHandle, open, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Header, pack as tarPack, type Pack } from 'tar-stream';
import { systemCode } from '../../errors.ts';
import { readFully } from '../../files/read-fully.ts';
import { ClientError } from '../client-error.ts';
import type { Tree, TreeEntry } from './tree.ts';

/** A file up to this size is read whole before its header is written: what is sent is what was read. */
const WHOLE_BYTES = 1024 * 1024;

type EntryHeader = Partial<Header> & Pick<Header, 'name'>;

/** A large file became shorter while it was sent, so that the stream can't be completed; another try may. */
export class FileChanged extends Error {}

/**
 * A tree as a tar stream. A file that vanished since it was listed is left out. Of a large file that grows
 * meanwhile its first bytes are sent; one that shrinks ends the stream with {@link FileChanged}.
 * `onBytes` hears of every piece of content that was read; the sum over a quiet tree is `tree.bytes`.
 */
export function packTree(
  tree: Tree,
  onBytes: (bytes: number) => void = () => undefined,
): AsyncIterable<Uint8Array> {
  const pack = tarPack();
  // Its reader hears of an error; without a listener it would end the process besides.
  pack.on('error', () => undefined);
  write(pack, tree, onBytes).then(
    () => pack.finalize(),
    (error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  return pack as AsyncIterable<Uint8Array>; // its types say `unknown`
}

async function write(pack: Pack, tree: Tree, onBytes: (bytes: number) => void): Promise<void> {
  for (const entry of tree.entries) {
    if (pack.destroyed) return;
    const path = join(tree.root, entry.path);
    try {
      const header = { name: entry.path, mode: entry.mode, mtime: entry.mtime, type: entry.type };
      if (entry.type === 'directory') await putEntry(pack, header);
      else if (entry.type === 'symlink') await putEntry(pack, { ...header, linkname: await readlink(path) });
      else await writeFile(pack, path, entry, header, onBytes);
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT' || code === 'ENOTDIR') continue;
      // ELOOP: became a symlink; EINVAL: was one. What was listed is no longer there.
      if (code === 'ELOOP' || code === 'EINVAL') continue;
      if (code === undefined) throw error;
      throw new ClientError('upload_failed', `${entry.path} can't be read (${code}).`, { cause: error });
    }
  }
}

async function writeFile(
  pack: Pack,
  path: string,
  entry: TreeEntry,
  header: EntryHeader,
  onBytes: (bytes: number) => void,
): Promise<void> {
  // Not blocking, and not through a symlink: something else may have taken the name since.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (!found.isFile()) return;
    if (found.size <= WHOLE_BYTES) {
      const content = await readUpTo(file, found.size);
      onBytes(content.length);
      await putEntry(pack, header, content);
    } else {
      await stream(pack, file, found.size, entry.path, header, onBytes);
    }
  } finally {
    await file.close();
  }
}

async function stream(
  pack: Pack,
  file: FileHandle,
  size: number,
  name: string,
  header: EntryHeader,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const finished = Promise.withResolvers<void>();
  const sink = pack.entry({ ...header, size }, (error) =>
    error ? finished.reject(error) : finished.resolve(),
  );
  // Destroying the pack ends the entry with its error, which the callback hears of, and by then nobody may wait.
  sink.on('error', () => undefined);
  finished.promise.catch(() => undefined);
  for (let sent = 0; sent < size;) {
    const piece = await readUpTo(file, Math.min(WHOLE_BYTES, size - sent), sent);
    if (piece.length === 0) throw new FileChanged(`${name} changed while it was sent`);
    sent += piece.length;
    onBytes(piece.length);
    if (!sink.write(piece)) {
      await Promise.race([
        new Promise<void>((resolve) => sink.once('drain', () => resolve())),
        finished.promise,
      ]);
    }
  }
  sink.end(null);
  await finished.promise;
}

/** @returns fewer bytes only when the file ends before */
async function readUpTo(file: FileHandle, length: number, position = 0): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  return buffer.subarray(0, await readFully(file, buffer, position));
}

/** Resolves when the stream has taken the entry, so that memory never holds more than one file. */
function putEntry(pack: Pack, header: EntryHeader, content?: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null): void => (error ? reject(error) : resolve());
    const sink = content ? pack.entry(header, content, done) : pack.entry(header, done);
    sink.on('error', () => undefined); // `done` hears of it
  });
}
