import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FlashpodsError, systemCode } from '../errors.ts';
import { writeFully } from '../files/read-fully.ts';
import { Directory, bytesOfName, type RawName } from '../trees/directory.ts';
import { removeTree } from '../trees/remove-tree.ts';
import { resolveSymlink } from '../trees/symlink.ts';
import { artifactNameProblem } from './artifact-name.ts';
import type { ArtifactLimits, CollectRequest } from './artifact-store.ts';
import { readManifest, writeManifest, type Artifact, type Manifest } from './manifest.ts';

/** Where the job sees the source: absolute links below it lead to artifacts. */
const MOUNT = 'artifacts';
const MAX_WARNINGS = 50;
const MAX_ENTRIES = 100_000;
const MAX_DEPTH = 64;
const MAX_LINKS = 1000;
/** With the directory in front it still is a path. */
const MAX_NAME_BYTES = 2048;
const BLOCK_BYTES = 256 * 1024;

interface Candidate {
  readonly name: string;
  readonly directory: readonly RawName[];
  readonly file: RawName;
  /** Set for a symlink: its target. */
  readonly link: RawName | null;
}

/**
 * See `ArtifactStore.collect`. Copies into the directory `destination`, every file under its name, 0600 in directories
 * of 0700, in the order of their names. The destination appears by renaming.
 */
export const collectArtifacts = async (destination: string, request: CollectRequest): Promise<Manifest> => {
  const { signal } = request;
  const partial = join(dirname(destination), `.${basename(destination)}.partial`);
  try {
    const earlier = await readManifest(destination);
    if (earlier !== null) return earlier;
    await removeTree(partial);
    await removeTree(destination);
    await mkdir(dirname(destination), { recursive: true, mode: 0o700 });
    await mkdir(partial, { mode: 0o700 });
    const source = await Directory.open(request.source);
    try {
      const manifest = await new Collection(request, source, partial).run();
      await writeManifest(partial, manifest);
      await rename(partial, destination);
      return manifest;
    } finally {
      await source.close();
    }
  } catch (error) {
    // The disk may be full: what cannot be used is not kept. A failure of that changes nothing.
    await removeTree(partial).catch(() => undefined);
    signal?.throwIfAborted();
    throw translate(error);
  }
};

class Collection {
  readonly #limits: ArtifactLimits;
  readonly #signal: AbortSignal | undefined;
  readonly #source: Directory;
  readonly #target: string;
  readonly #artifacts: Artifact[] = [];
  readonly #warnings = new Warnings();
  readonly #buffer = Buffer.allocUnsafe(BLOCK_BYTES);
  #entries = 0;
  #totalBytes = 0;

  constructor({ limits, signal }: CollectRequest, source: Directory, target: string) {
    this.#limits = limits;
    this.#signal = signal;
    this.#source = source;
    this.#target = target;
  }

  async run(): Promise<Manifest> {
    const candidates: Candidate[] = [];
    const root = await this.#source.descend([]);
    await this.#walk(root, [], '', candidates);
    candidates.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    let links = 0;
    let tooMany = 0;
    for (const candidate of candidates) {
      this.#signal?.throwIfAborted();
      if (candidate.link !== null && ++links > MAX_LINKS) {
        this.#warnings.add(candidate.name, `a symlink beyond the ${MAX_LINKS} that are followed`);
        continue;
      }
      const found = candidate.link === null ? candidate : await this.#follow(candidate, candidate.link);
      if (found === null) continue;
      if (this.#artifacts.length >= this.#limits.maxFiles) tooMany++;
      else await this.#take(candidate.name, found.directory, found.file);
    }
    if (tooMany > 0) {
      this.#warnings.note(`${tooMany} more files were left out: the limit is ${this.#limits.maxFiles} files`);
    }
    return { artifacts: this.#artifacts, warnings: this.#warnings.lines };
  }

  /** Finds the candidates below `directory`, which it closes. */
  async #walk(
    directory: Directory,
    path: readonly RawName[],
    prefix: string,
    found: Candidate[],
  ): Promise<void> {
    try {
      for await (const raw of directory.names()) {
        this.#signal?.throwIfAborted();
        if (++this.#entries > MAX_ENTRIES) {
          if (this.#entries === MAX_ENTRIES + 1) {
            this.#warnings.note(`only the first ${MAX_ENTRIES} files and directories were looked at`);
          }
          return;
        }
        const name = prefix + bytesOfName(raw).toString('utf8');
        const problem = this.#nameProblem(raw, name);
        const stats = await directory.stat(raw);
        if (problem !== null) this.#warnings.add(name, `its name ${problem}`);
        else if (stats.isDirectory()) {
          if (path.length >= MAX_DEPTH) this.#warnings.add(name, `more than ${MAX_DEPTH} directories deep`);
          else await this.#walk(await directory.openDirectory(raw), [...path, raw], `${name}/`, found);
        } else if (stats.isSymbolicLink()) {
          found.push({ name, directory: path, file: raw, link: await directory.readLink(raw) });
        } else if (stats.isFile()) found.push({ name, directory: path, file: raw, link: null });
        else {
          const kind = stats.isFIFO() ? 'a FIFO' : stats.isSocket() ? 'a socket' : 'a device';
          this.#warnings.add(name, `${kind}, not a regular file`);
        }
      }
    } finally {
      await directory.close();
    }
  }

  #nameProblem(raw: RawName, name: string): string | null {
    if (!isUtf8(bytesOfName(raw))) return 'is not UTF-8';
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `has more than ${MAX_NAME_BYTES} bytes`;
    return artifactNameProblem(name);
  }

  async #follow(
    { name, directory }: Candidate,
    target: RawName,
  ): Promise<{ readonly directory: readonly RawName[]; readonly file: RawName } | null> {
    const end = await resolveSymlink(this.#source, directory, target, MOUNT);
    switch (end.kind) {
      case 'file':
        return { directory: end.directory, file: end.name };
      case 'directory':
        this.#warnings.add(name, 'a symlink to a directory');
        return null;
      case 'missing':
        this.#warnings.add(name, 'a symlink that leads nowhere');
        return null;
      case 'loop':
        this.#warnings.add(name, 'a symlink in a loop');
        return null;
      case 'outside':
        this.#warnings.add(name, 'a symlink that leads out of /artifacts');
        return null;
    }
  }

  async #take(name: string, path: readonly RawName[], file: RawName): Promise<void> {
    const directory = await this.#source.descend(path);
    try {
      // A link may lead to something that must not even be opened.
      if (!(await directory.stat(file)).isFile()) {
        this.#warnings.add(name, 'a symlink to something that is not a regular file');
        return;
      }
      const input = await directory.openFile(file, constants.O_RDONLY);
      try {
        const stats = await input.stat();
        const { maxFileBytes, maxTotalBytes } = this.#limits;
        if (!stats.isFile()) this.#warnings.add(name, 'not a regular file');
        else if (stats.size > maxFileBytes) {
          this.#warnings.add(name, `${stats.size} bytes, the limit for a file is ${maxFileBytes}`);
        } else if (this.#totalBytes + stats.size > maxTotalBytes) {
          this.#warnings.add(name, `with it all artifacts would have more than ${maxTotalBytes} bytes`);
        } else {
          const artifact = await this.#copy(name, input, stats.size);
          this.#artifacts.push(artifact);
          this.#totalBytes += artifact.size_bytes;
        }
      } finally {
        await input.close();
      }
    } finally {
      await directory.close();
    }
  }

  /** Copies and hashes in one pass. Blocks of zeros become holes, so that a sparse file takes no disk here either. */
  async #copy(name: string, input: FileHandle, size: number): Promise<Artifact> {
    const path = join(this.#target, name);
    if (name.includes('/')) await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const output = await open(path, 'wx', 0o600);
    try {
      const hash = createHash('sha256');
      let done = 0;
      while (done < size) {
        this.#signal?.throwIfAborted();
        const { bytesRead } = await input.read(this.#buffer, 0, Math.min(BLOCK_BYTES, size - done), done);
        if (bytesRead === 0) break;
        const block = this.#buffer.subarray(0, bytesRead);
        hash.update(block);
        if (!block.equals(ZEROS.subarray(0, bytesRead))) await writeFully(output, block, done);
        done += bytesRead;
      }
      await output.truncate(done);
      return { name, size_bytes: done, sha256: hash.digest('hex') };
    } finally {
      await output.close();
    }
  }
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** What was left out, for people: bounded lines, a bounded number of them, in the order of the names. */
class Warnings {
  readonly #files: { readonly name: string; readonly reason: string }[] = [];
  readonly #notes: string[] = [];

  add(name: string, reason: string): void {
    this.#files.push({ name, reason });
  }

  note(line: string): void {
    this.#notes.push(line);
  }

  get lines(): readonly string[] {
    const sorted = this.#files.sort((a, b) => (a.name < b.name ? -1 : 1));
    const lines = sorted.slice(0, MAX_WARNINGS).map(({ name, reason }) => {
      const shown = name.length > 200 ? `${name.slice(0, 200)}…` : name;
      return `${JSON.stringify(shown)} was left out: ${reason}`;
    });
    const more = sorted.length - lines.length;
    if (more > 0) lines.push(`${more} more were left out for such reasons`);
    return [...lines, ...this.#notes];
  }
}

const translate = (error: unknown): unknown => {
  if (error instanceof FlashpodsError) return error;
  const code = systemCode(error);
  switch (code) {
    case undefined:
      return error;
    case 'ENOSPC':
    case 'EDQUOT':
      return new FlashpodsError('artifact_copy_disk_full', undefined, { cause: error });
    case 'EACCES':
    case 'EPERM':
      return new FlashpodsError('artifact_copy_permission', undefined, { cause: error });
    case 'ENOENT':
      return new FlashpodsError('artifact_copy_container_gone', undefined, { cause: error });
    default:
      return new FlashpodsError('artifact_copy_failed', `The artifacts could not be collected (${code}).`, {
        cause: error,
      });
  }
};
