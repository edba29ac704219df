import { constants } from 'node:fs';
import { type FileHandle, open, readlink } from 'node:fs/promises';
import { type Header, pack as tarPack, type Pack } from 'tar-stream';
import { systemCode } from '../../errors.ts';
import { readFully } from '../../files/read-fully.ts';
import type { RawName } from '../../trees/directory.ts';
import { formatSeconds } from '../../trees/times.ts';
import { ClientError } from '../client-error.ts';
import { absolute, shown, utf8Of } from './names.ts';
import type { Tree, TreeEntry } from './tree.ts';

/** Pax fields of our own for names that are not UTF-8, one character a byte: the standard ones can't hold them. */
const RAW_FIELDS = { name: 'FLASHPODS.path', linkname: 'FLASHPODS.linkpath' } as const;
/** A file up to this size is read whole before its header is written: what is sent is what was read. */
const WHOLE_BYTES = 1024 * 1024;

/** Times of the classic header: 33 bits of whole seconds; tar-stream writes 31 of them. */
const HEADER_SECONDS = 2n ** 31n;
/** macOS: fails with ELOOP when any directory on the way is a symlink. */
const O_NOFOLLOW_ANY = 0x20000000;
const FLAGS =
  constants.O_RDONLY |
  constants.O_NOFOLLOW |
  constants.O_NONBLOCK |
  (process.platform === 'darwin' ? O_NOFOLLOW_ANY : 0);

type EntryHeader = Partial<Header> & Pick<Header, 'name'>;

/** What is heard while a tree is packed. */
export interface PackListener {
  /** Of every piece of content that was read; the sum over a quiet tree is `tree.bytes`. */
  readonly onBytes?: (bytes: number) => void;
  /** Of what was listed and is not there any longer, or something else now. */
  readonly onVanished?: (path: RawName) => void;
}

/** A large file became shorter while it was sent, so that the stream can't be completed; another try may. */
export class FileChanged extends Error {}

/**
 * A tree as a tar stream, times to the nanosecond. A file that vanished since it was listed is left out. Of a large
 * file that grows meanwhile its first bytes are sent; one that shrinks ends the stream with {@link FileChanged}.
 */
export function packTree(tree: Tree, listener: PackListener = {}): AsyncIterable<Uint8Array> {
  const pack = tarPack();
  // Its reader hears of an error; without a listener it would end the process besides.
  pack.on('error', () => undefined);
  write(pack, tree, listener).then(
    () => pack.finalize(),
    (error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  return pack as AsyncIterable<Uint8Array>; // its types say `unknown`
}

async function write(
  pack: Pack,
  tree: Tree,
  { onBytes = () => undefined, onVanished = () => undefined }: PackListener,
): Promise<void> {
  for (const entry of tree.entries) {
    if (pack.destroyed) return;
    const path = entry.source ?? absolute(tree.root, entry.path);
    try {
      const isWritten = await writeEntry(pack, path, entry, onBytes);
      if (!isWritten) onVanished(entry.path);
    } catch (error) {
      const code = systemCode(error);
      // ELOOP: became a symlink; EINVAL: was one. What was listed is no longer there.
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP' || code === 'EINVAL') {
        onVanished(entry.path);
        continue;
      }
      if (code === undefined) throw error;
      throw new ClientError('upload_failed', `${shown(entry.path)} can't be read (${code}).`, {
        cause: error,
      });
    }
  }
}

/** @returns false when it is not there any longer as what it was listed as */
async function writeEntry(
  pack: Pack,
  path: Buffer,
  entry: TreeEntry,
  onBytes: (bytes: number) => void,
): Promise<boolean> {
  if (entry.type === 'directory') await putEntry(pack, headerOf(entry));
  else if (entry.type === 'symlink') {
    const target = (await readlink(path, { encoding: 'buffer' })).toString('latin1');
    await putEntry(pack, headerOf(entry, entry, target));
  } else if (entry.content) {
    onBytes(entry.content.length);
    await putEntry(pack, headerOf(entry), entry.content);
  } else return writeFile(pack, path, entry, onBytes);
  return true;
}

async function writeFile(
  pack: Pack,
  path: Buffer,
  entry: TreeEntry,
  onBytes: (bytes: number) => void,
): Promise<boolean> {
  // Not blocking, and not through a symlink: something else may have taken the name since.
  const file = await open(path, FLAGS);
  try {
    const found = await file.stat({ bigint: true });
    if (!found.isFile() || !(await isAt(file, path))) return false;
    const size = Number(found.size);
    // What it is now: its content and its time belong together.
    const header = headerOf(entry, { mode: Number(found.mode & 0o777n), mtimeNs: found.mtimeNs });
    if (size <= WHOLE_BYTES) {
      const content = await readUpTo(file, size);
      onBytes(content.length);
      await putEntry(pack, header, content);
    } else {
      await stream(pack, file, size, shown(entry.path), header, onBytes);
    }
    return true;
  } finally {
    await file.close();
  }
}

/** Whether no directory on the way was swapped for a link to elsewhere since it was listed, where the system tells. */
async function isAt(file: FileHandle, path: Buffer): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  const where = await readlink(`/proc/self/fd/${file.fd}`, { encoding: 'buffer' }).catch(() => null);
  return where === null || where.equals(path);
}

/** @param now of the entry: what is read may have changed since it was listed */
function headerOf(
  entry: TreeEntry,
  now: Pick<TreeEntry, 'mode' | 'mtimeNs'> = entry,
  target: RawName | null = null,
): EntryHeader {
  const { mode, mtimeNs } = now;
  const pax: Record<string, string> = { mtime: formatSeconds(mtimeNs) };
  const seconds = mtimeNs / 1_000_000_000n;
  const isClassic = mtimeNs >= 0n && seconds < HEADER_SECONDS;
  const text = (name: RawName, field: string): string => {
    const said = utf8Of(name);
    if (said === null) pax[field] = name;
    return said ?? shown(name).replaceAll('\ufffd', '_');
  };
  return {
    name: text(entry.path, RAW_FIELDS.name),
    ...(target === null ? {} : { linkname: text(target, RAW_FIELDS.linkname) }),
    type: entry.type,
    mode,
    mtime: new Date(isClassic ? Number(seconds) * 1_000 : 0),
    pax,
  };
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
