/** Fetches what a job left as the tree that it was: files, symlinks and directories, with their modes and times. */
import { createHash } from 'node:crypto';
import { chmod, type FileHandle } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { type FileTime, setTimes } from '../files/exact-times.ts';
import type { ArtifactAnswer, ArtifactDirectory } from './answers.ts';
import { makeArtifactDirectory, makePlace, NewDirectories } from './artifact-places.ts';
import type { FlashpodsClient } from './client.ts';
import { FetchedBefore } from './fetched-before.ts';
import { ClientError } from './client-error.ts';
import {
  type DownloadOptions,
  downloadTo,
  makeLink,
  modeOf,
  type Received,
  storeFile,
  timeOf,
} from './download.ts';

/** From this number of files on they come in one archive: each by itself costs a request, of which a server takes 100 a second. */
const ARCHIVE_FROM = 20;
/** What a member of an archive may take beside its content. */
const MEMBER_BYTES = 16 * 1024;

export interface FetchOptions extends DownloadOptions {
  /** Globs that match these artifacts and no others, for the archive; none: these are all. Null: they can't be told. */
  readonly match?: readonly string[] | null;
  /** What an earlier fetch left in the directory is replaced, unless somebody has changed it since. */
  readonly replacesOwn?: boolean;
}

/** What became of one artifact. */
export type Fetched =
  | { readonly artifact: ArtifactAnswer; readonly path: string }
  | { readonly artifact: ArtifactAnswer; readonly error: ClientError };

export interface ArtifactsToFetch {
  readonly artifacts: readonly ArtifactAnswer[];
  readonly directories?: readonly ArtifactDirectory[] | undefined;
}

/**
 * Fetches artifacts to their places below a directory, which is made when it is missing. Nothing is written outside of
 * it, no symlink that is there is followed, and a directory that is there keeps its mode and time. A `.git` comes only
 * into a directory that is new or empty.
 * @returns each once it is there; one that can't be fetched keeps none of the others
 * @throws ClientError download_failed when the directory can't be made; the reason of the signal
 */
export async function* fetchArtifacts(
  client: FlashpodsClient,
  jobId: string,
  wanted: ArtifactsToFetch,
  directory: string,
  options: FetchOptions,
): AsyncGenerator<Fetched, void, void> {
  const directories = new NewDirectories(directory);
  await directories.start();
  const before = options.replacesOwn ? await FetchedBefore.of(client.connection.cacheDir, directory) : null;
  const fetching = new Fetching(client, jobId, wanted, directories, options, before);
  try {
    yield* fetching.run();
  } finally {
    await fetching.settle();
    await before?.save();
  }
}

class Fetching {
  readonly #client: FlashpodsClient;
  readonly #jobId: string;
  readonly #artifacts: readonly ArtifactAnswer[];
  readonly #directories: ReadonlyMap<string, ArtifactDirectory>;
  readonly #new: NewDirectories;
  readonly #options: FetchOptions;
  readonly #before: FetchedBefore | null;
  readonly #times: FileTime[] = [];

  constructor(
    client: FlashpodsClient,
    jobId: string,
    { artifacts, directories = [] }: ArtifactsToFetch,
    made: NewDirectories,
    options: FetchOptions,
    before: FetchedBefore | null,
  ) {
    this.#client = client;
    this.#jobId = jobId;
    this.#artifacts = artifacts;
    const own = artifacts.filter(({ type }) => type === 'directory');
    this.#directories = new Map([...directories, ...own].map((each) => [each.name, each]));
    this.#new = made;
    this.#options = options;
    this.#before = before;
  }

  async *run(): AsyncGenerator<Fetched, void, void> {
    const files = new Map(
      this.#artifacts.filter(({ type = 'file' }) => type === 'file').map((file) => [file.name, file]),
    );
    if (files.size > ARCHIVE_FROM && this.#options.match !== null) {
      try {
        yield* this.#fromArchive(files);
      } catch (error) {
        // It broke off, or an older server has none: what is left is fetched one by one.
        this.#options.signal?.throwIfAborted();
        if (!(error instanceof ArchiveBroken)) throw error;
      }
    }
    for (const file of files.values()) {
      yield* this.#placed(file, async (path, force) => {
        const { signal } = this.#options;
        const { mtime: _mtime, ...untimed } = file;
        await downloadTo(this.#client, this.#jobId, untimed, path, { signal, force });
      });
    }
    // After the files: nothing is written where a link of the job might lead.
    for (const artifact of this.#artifacts) {
      if (artifact.type === 'directory') {
        yield* this.#placed(artifact, async (path) => {
          if (await makeArtifactDirectory(path, artifact.name)) this.#new.made.set(artifact.name, path);
        });
      } else if (artifact.type === 'symlink') {
        yield* this.#placed(artifact, (path, force) => makeLink(artifact, path, { force }));
      }
    }
  }

  /** Modes and times of directories come last, since what is made in them changes them: the innermost first. */
  async settle(): Promise<void> {
    for (const [name, path] of [...this.#new.made].reverse()) {
      const described = this.#directories.get(name);
      if (described === undefined) continue;
      const mtimeNs = timeOf(described);
      if (mtimeNs !== null) this.#times.push({ path, mtimeNs });
    }
    await setTimes(this.#times);
    for (const [name, path] of [...this.#new.made].reverse()) {
      const mode = modeOf(this.#directories.get(name) ?? {});
      if (mode !== null) await chmod(path, mode).catch(() => undefined); // somebody has taken it away
    }
  }

  async *#placed(
    artifact: ArtifactAnswer,
    work: (path: string, force: boolean) => Promise<void>,
  ): AsyncGenerator<Fetched, void, void> {
    this.#options.signal?.throwIfAborted();
    let path: string;
    try {
      path = await makePlace(this.#new, artifact.name);
      const { force } = this.#options;
      await work(path, force || (await this.#before?.owns(artifact.name, path)) === true);
      this.#before?.note(artifact, path);
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (!(error instanceof ClientError)) throw error;
      yield { artifact, error };
      return;
    }
    const mtimeNs = timeOf(artifact);
    if (mtimeNs !== null && artifact.type !== 'directory') this.#times.push({ path, mtimeNs });
    yield { artifact, path };
  }

  /** Takes out of `left` what has come. @throws ArchiveBroken */
  async *#fromArchive(left: Map<string, ArtifactAnswer>): AsyncGenerator<Fetched, void, void> {
    for await (const member of this.#members(left)) {
      const file = left.get(member.header.name);
      if (file === undefined || member.header.type !== 'file') {
        member.resume();
        continue;
      }
      left.delete(file.name);
      for await (const fetched of this.#placed(file, (path, force) =>
        storeFile(file, path, { ...this.#options, force }, (handle) => copyTo(handle, member, file)),
      )) {
        if ('error' in fetched && fetched.error.cause instanceof ArchiveBroken) {
          left.set(file.name, file);
          throw fetched.error.cause;
        }
        yield fetched;
      }
      // What was refused was not read.
      member.resume();
    }
  }

  /** The members of the archive, one after the other. @throws ArchiveBroken */
  async *#members(left: ReadonlyMap<string, ArtifactAnswer>): AsyncGenerator<Member, void, void> {
    const { signal } = this.#options;
    const match = this.#options.match ?? [];
    const promised = [...left.values()].reduce((sum, { size_bytes }) => sum + size_bytes, 0);
    const most = promised + MEMBER_BYTES * (this.#artifacts.length + this.#directories.size + 2);
    const response = await this.#client.openArchive(this.#jobId, match, signal).catch((cause: unknown) => {
      signal?.throwIfAborted();
      throw new ArchiveBroken(cause);
    });
    const gunzip = createGunzip();
    const tar = extract();
    const bounded = bound(most);
    const broken = (error: unknown): void => {
      tar.destroy(new ArchiveBroken(error));
    };
    for (const stream of [response, gunzip, bounded]) stream.on('error', broken);
    // A connection that ends early says no more than that.
    response.on('close', () => {
      if (!response.complete) broken(new Error('the connection broke'));
    });
    response.pipe(gunzip).pipe(bounded).pipe(tar);
    try {
      for await (const member of tar) yield member as unknown as Member;
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof ArchiveBroken ? error : new ArchiveBroken(error);
    } finally {
      response.destroy();
      gunzip.destroy();
      tar.destroy();
    }
  }
}

interface Member extends AsyncIterable<Uint8Array> {
  readonly header: Header;
  resume(): void;
}

class ArchiveBroken extends Error {
  constructor(cause: unknown) {
    super('the archive broke off', { cause });
  }
}

/** Lets this number of bytes pass: what a server packs may be any number of zeros. */
function bound(most: number): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > most) done(new Error('the archive has more than was promised'));
      else done(null, chunk);
    },
  });
}

async function copyTo(
  file: FileHandle,
  member: Member,
  { name, size_bytes }: ArtifactAnswer,
): Promise<Received> {
  const hash = createHash('sha256');
  let bytes = 0;
  const content = member[Symbol.asyncIterator]();
  for (;;) {
    const chunk = await content.next().catch((error: unknown) => {
      const message = `The connection broke while ${name} was fetched.`;
      throw new ClientError('download_failed', message, { cause: new ArchiveBroken(error) });
    });
    if (chunk.done === true) break;
    bytes += chunk.value.length;
    if (bytes > size_bytes) continue;
    hash.update(chunk.value);
    await file.writeFile(chunk.value);
  }
  return { bytes, sha256: hash.digest('hex') };
}
