import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, mkdir, rename, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FlashpodsError, systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { writeFully } from '../files/read-fully.ts';
import { pause } from '../timing/bell.ts';
import { type BudgetLimits, TreeBudget } from '../trees/budget.ts';
import { Directory, rawName } from '../trees/directory.ts';
import { inBatches } from '../trees/in-batches.ts';
import { removeTree } from '../trees/remove-tree.ts';
import type { CollectRequest } from './artifact-store.ts';
import { Globs } from './globs.ts';
import { readManifest, writeManifest, type Artifact, type Manifest } from './manifest.ts';
import { type Chosen, select } from './selection.ts';
import { type Entry, hasChanged, SourceTree } from './source-tree.ts';
import { quoted, Warnings } from './warnings.ts';

const BLOCK_BYTES = 256 * 1024;
/** For a rival that replaced what we had begun, to finish. */
const RIVAL_MS = 60_000;
const RIVAL_LOOK_MS = 50;
const PERMISSIONS = 0o777n;
/** Of one job: `/artifacts`, what is asked for of `/work`, and all links of both. */
const COLLECT_BUDGET: BudgetLimits = {
  entries: 100_000,
  nameBytes: 16 * 1024 * 1024,
  steps: 2_000_000,
  cpuMs: 60_000,
};

/**
 * See `ArtifactStore.collect`. Copies into the directory `destination`, every file under its name, 0600 in directories
 * of 0700, in the order of their names. They are at their destination once `putInPlace` has returned, and not before.
 */
export async function collectArtifacts(destination: string, request: CollectRequest): Promise<Manifest> {
  const { signal } = request;
  const partial = partialOf(destination);
  for (let tries = 1; ; tries++) {
    let target: Directory | null = null;
    let isWhole = false;
    try {
      const earlier = await readManifest(destination);
      if (earlier !== null) return earlier;
      await removeTree(partial);
      await removeTree(destination);
      await mkdir(dirname(destination), { recursive: true, mode: 0o700 });
      await mkdir(partial, { mode: 0o700 });
      target = await Directory.open(partial);
      const manifest = await collectInto(target, request);
      await writeManifest(target, manifest);
      if (!(await isStill(target, partial))) throw new Error('another process collects the same artifacts');
      isWhole = true;
      return manifest;
    } catch (error) {
      signal?.throwIfAborted();
      if (target !== null && tries <= 2 && !(await isStill(target, partial))) {
        // Another process has begun anew: what it makes of them is as good.
        await untilDone(destination, partial, signal);
        continue;
      }
      throw translate(error);
    } finally {
      // The disk may be full: what cannot be used is not kept. A failure of that changes nothing.
      if (target !== null && !isWhole && (await isStill(target, partial)))
        await removeTree(partial).catch(() => undefined);
      await target?.close();
    }
  }
}

const partialOf = (destination: string): string =>
  join(dirname(destination), `.${basename(destination)}.partial`);

/**
 * What `collectArtifacts` has made becomes visible at once. Nothing to do where it was there before.
 * @throws what the system has against it, ENOENT when somebody took it away
 */
export async function putInPlace(destination: string): Promise<void> {
  try {
    await rename(partialOf(destination), destination);
  } catch (error) {
    ifMissing(null)(error);
    await lstat(destination);
  }
}

async function isStill(target: Directory, path: string): Promise<boolean> {
  const [ours, there] = await Promise.all([target.handle.stat(), lstat(path).catch(() => null)]);
  return ours.ino === there?.ino && ours.dev === there.dev;
}

async function untilDone(
  destination: string,
  partial: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = performance.now() + RIVAL_MS;
  const isThere = (path: string): Promise<boolean> =>
    lstat(path).then(
      () => true,
      () => false,
    );
  while (performance.now() < deadline && !(await isThere(destination)) && (await isThere(partial))) {
    await pause(RIVAL_LOOK_MS, signal);
    signal?.throwIfAborted();
  }
}

/** @throws what the system has against the source or the target; the reason of the signal */
async function collectInto(target: Directory, request: CollectRequest): Promise<Manifest> {
  const { limits, signal, source, work } = request;
  const warnings = new Warnings();
  const budget = new TreeBudget(COLLECT_BUDGET, { signal });
  const trees = [await SourceTree.open({ path: source, mount: 'artifacts', globs: null, warnings, budget })];
  try {
    if (work && work.patterns.length > 0) {
      const tree = await openWork(work, warnings, budget);
      if (tree) trees.push(tree);
      for (const pattern of tree?.unmatched ?? [])
        warnings.note(`nothing in /work matches ${quoted(pattern)}`);
    }
    const { chosen, parents } = await select(trees, { limits, warnings, budget });
    const files = await new Copying(target, warnings, signal).copy(chosen);
    return {
      artifacts: [...recorded(chosen, files)],
      directories: parents.map((entry) => describe(entry, 'directory')),
      warnings: warnings.lines,
    };
  } finally {
    for (const tree of trees) await tree.close();
  }
}

/** A root may have made something else of its `/work`; then there is nothing to collect. */
async function openWork(
  { source, patterns }: NonNullable<CollectRequest['work']>,
  warnings: Warnings,
  budget: TreeBudget,
): Promise<SourceTree | null> {
  try {
    return await SourceTree.open({
      path: source,
      mount: 'work',
      globs: new Globs(patterns),
      warnings,
      budget,
    });
  } catch (error) {
    if (!hasChanged(error)) throw error;
    warnings.note('nothing was collected from /work: it is no directory any more');
    return null;
  }
}

type Copied = Pick<Artifact, 'size_bytes' | 'sha256' | 'mode' | 'mtime_ns'>;

/** In the order of `chosen`. A link tells of the file that it leads to. */
function* recorded(chosen: readonly Chosen[], files: ReadonlyMap<string, Copied>): Generator<Artifact> {
  for (const { name, entry, source, link } of chosen) {
    if (source !== null) {
      const file = files.get(name);
      if (file) yield { name, type: 'file', ...file, link_target: null, leads_to: null };
    } else if (link) {
      const end = link.to === null ? undefined : files.get(link.to);
      yield {
        ...describe(entry, 'symlink'),
        size_bytes: end?.size_bytes ?? 0,
        sha256: end?.sha256 ?? null,
        link_target: link.target,
        leads_to: end === undefined ? null : link.to,
      };
    } else yield describe(entry, 'directory');
  }
}

const describe = ({ name, stats }: Entry, type: Artifact['type']): Artifact => ({
  name,
  type,
  size_bytes: 0,
  sha256: null,
  mode: Number(stats.mode & PERMISSIONS),
  mtime_ns: stats.mtimeNs.toString(),
  link_target: null,
  leads_to: null,
});

/** Copies files some at a time, directory by directory. */
class Copying {
  readonly #target: Directory;
  readonly #warnings: Warnings;
  readonly #signal: AbortSignal | undefined;
  readonly #buffers: Buffer[] = [];

  constructor(target: Directory, warnings: Warnings, signal: AbortSignal | undefined) {
    this.#target = target;
    this.#warnings = warnings;
    this.#signal = signal;
  }

  /** @returns the files by name; those that were changed into something else meanwhile are missing */
  async copy(chosen: readonly Chosen[]): Promise<Map<string, Copied>> {
    const copied = new Map<string, Copied>();
    for (const group of groups(chosen)) {
      this.#signal?.throwIfAborted();
      const [first] = group;
      if (!first) continue;
      const from = await first.tree.root
        .descend(rawPath(first.source.slice(0, -1)))
        .catch((error: unknown) => {
          if (!hasChanged(error)) throw error;
          for (const { name } of group) this.#warnings.leftOut(name, 'it was changed while it was collected');
          return null;
        });
      if (from === null) continue;
      try {
        const to = await this.#directory(first.entry.path.slice(0, -1));
        try {
          await inBatches(group, async (file) => {
            const result = await this.#file(file, from, to);
            if (result) copied.set(file.name, result);
          });
        } finally {
          await to.close();
        }
      } finally {
        await from.close();
      }
    }
    return copied;
  }

  /** Opens a directory of the target, made where it is missing. */
  async #directory(path: readonly string[]): Promise<Directory> {
    let current = await this.#target.descend([]);
    for (const segment of rawPath(path)) {
      const parent = current;
      try {
        await parent.makeDirectory(segment, 0o700).catch((error: unknown) => {
          if (systemCode(error) !== 'EEXIST') throw error;
        });
        current = await parent.openDirectory(segment);
      } finally {
        await parent.close();
      }
    }
    return current;
  }

  async #file({ name, entry, source }: ChosenFile, from: Directory, to: Directory): Promise<Copied | null> {
    this.#signal?.throwIfAborted();
    const file = rawName(source.at(-1) ?? '');
    const input = await openRegular(from, file);
    if (input === null) {
      this.#warnings.leftOut(name, 'it was changed while it was collected');
      return null;
    }
    try {
      const before = await input.stat({ bigint: true });
      // No more than was counted.
      const size = Number(before.size < entry.stats.size ? before.size : entry.stats.size);
      const { done, sha256 } = await this.#bytes(input, to, rawName(entry.path.at(-1) ?? ''), size);
      const after = await input.stat({ bigint: true });
      if (after.size !== BigInt(done) || after.mtimeNs !== before.mtimeNs)
        this.#warnings.about(
          name,
          'was written to while it was collected: it may be neither the old nor the new',
        );
      return {
        size_bytes: done,
        sha256,
        mode: Number(after.mode & PERMISSIONS),
        mtime_ns: after.mtimeNs.toString(),
      };
    } finally {
      await input.close();
    }
  }

  /** Copies and hashes in one pass. Blocks of zeros become holes, so that a sparse file takes no disk here either. */
  async #bytes(
    input: FileHandle,
    to: Directory,
    name: string,
    size: number,
  ): Promise<{ readonly done: number; readonly sha256: string }> {
    const output = await to.openFile(name, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    const buffer = this.#buffers.pop() ?? Buffer.allocUnsafe(BLOCK_BYTES);
    try {
      const hash = createHash('sha256');
      let done = 0;
      let isHole = false;
      while (done < size) {
        this.#signal?.throwIfAborted();
        const { bytesRead } = await input.read(buffer, 0, Math.min(BLOCK_BYTES, size - done), done);
        if (bytesRead === 0) break;
        const block = buffer.subarray(0, bytesRead);
        hash.update(block);
        isHole = block.equals(ZEROS.subarray(0, bytesRead));
        if (!isHole) await writeFully(output, block, done);
        done += bytesRead;
      }
      if (isHole) await output.truncate(done);
      return { done, sha256: hash.digest('hex') };
    } finally {
      this.#buffers.push(buffer);
      await output.close();
    }
  }
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);

type ChosenFile = Chosen & { readonly source: readonly string[] };

const rawPath = (path: readonly string[]): string[] => path.map(rawName);

/** Files that lie in one directory, and go to one. */
function* groups(chosen: readonly Chosen[]): Generator<ChosenFile[]> {
  let group: ChosenFile[] = [];
  let key = '';
  for (const each of chosen) {
    if (each.source === null) continue;
    const directories = [each.source.slice(0, -1), each.entry.path.slice(0, -1)];
    const own = JSON.stringify([each.tree.mount, ...directories]);
    if (own !== key && group.length > 0) {
      yield group;
      group = [];
    }
    key = own;
    group.push({ ...each, source: each.source });
  }
  if (group.length > 0) yield group;
}

/** @returns null for what is no regular file any more, which is not even opened as far as that can be known */
async function openRegular(directory: Directory, file: string): Promise<FileHandle | null> {
  try {
    if (!(await directory.stat(file)).isFile()) return null;
    const handle = await directory.openFile(file, constants.O_RDONLY);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    return null;
  } catch (error) {
    if (hasChanged(error) || systemCode(error) === 'ENXIO') return null;
    throw error;
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
    case 'EROFS':
      return new FlashpodsError('artifact_copy_permission', undefined, { cause: error });
    case 'ENOENT':
      return new FlashpodsError('artifact_copy_container_gone', undefined, { cause: error });
    default:
      return new FlashpodsError('artifact_copy_failed', `The artifacts could not be collected (${code}).`, {
        cause: error,
      });
  }
};
