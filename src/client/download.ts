import { createHash, randomUUID } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { lstat, open, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isPlainTarget } from '../artifacts/link-target.ts';
import { systemCode } from '../errors.ts';
import { setTimes } from '../files/exact-times.ts';
import { ifMissing } from '../files/if-missing.ts';
import { pause } from '../timing/bell.ts';
import { parseIsoNs } from '../timing/nanoseconds.ts';
import type { ArtifactAnswer } from './answers.ts';
import { asClientError, fileExists, makePlace, NewDirectories, segmentsOf } from './artifact-places.ts';
import { moveToFree } from './move-to-free.ts';
import type { FlashpodsClient } from './client.ts';
import { ClientError } from './client-error.ts';
import { Retries } from './retry.ts';

export interface DownloadOptions {
  /** Whether a file that is there already may be replaced. */
  readonly force: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Fetches a file to its place below a directory, which is made when it is missing.
 * @returns the path of the file
 * @throws ClientError unsafe_artifact_name, or as {@link downloadTo}
 */
export async function downloadInto(
  client: FlashpodsClient,
  jobId: string,
  artifact: ArtifactAnswer,
  directory: string,
  options: DownloadOptions,
): Promise<string> {
  segmentsOf(artifact.name); // for a name that is not safe not even the directory is made
  const made = new NewDirectories(directory);
  await made.start();
  const target = await makePlace(made, artifact.name);
  await downloadTo(client, jobId, artifact, target, options);
  return target;
}

/**
 * Makes a symlink that leads nowhere outside of the directory with all artifacts.
 * @throws ClientError unsafe_artifact_name, file_exists, download_failed
 */
export async function makeLink(
  artifact: ArtifactAnswer,
  path: string,
  { force }: Pick<DownloadOptions, 'force'>,
): Promise<void> {
  const { name, link_target: target = '' } = artifact;
  if (!isPlainTarget(target, segmentsOf(name).length - 1)) {
    const message = `The artifact ${JSON.stringify(name.slice(0, 200))} is a symlink that is not safe.`;
    throw new ClientError('unsafe_artifact_name', message);
  }
  const temporary = temporaryBeside(path);
  try {
    if (!force) return await symlink(target, path);
    await symlink(target, temporary);
    // In the place of a link that is there, and not of what that leads to.
    await rename(temporary, path);
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw fileExists(path);
    throw asClientError(error, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Fetches an artifact to a path, and gives the file the artifact's mode and time. It appears whole, with size and
 * SHA-256 checked, or not at all.
 * @throws ClientError file_exists, download_failed, or what the API answered
 */
export async function downloadTo(
  client: FlashpodsClient,
  jobId: string,
  artifact: ArtifactAnswer,
  target: string,
  options: DownloadOptions,
): Promise<void> {
  await storeFile(artifact, target, options, (file) =>
    fetchTo(client, jobId, artifact, file, options.signal),
  );
  const mtimeNs = timeOf(artifact);
  if (mtimeNs !== null) await setTimes([{ path: target, mtimeNs }]);
}

/** What a file's mode is to be; null: nobody knows. What the system would do with a program is not taken over. */
export function modeOf({ mode }: Pick<ArtifactAnswer, 'mode'>): number | null {
  return typeof mode === 'string' && /^0?[0-7]{3}$/.test(mode) ? Number.parseInt(mode, 8) : null;
}

/** Nanoseconds since the Unix epoch; null: nobody knows. */
export const timeOf = ({ mtime }: Pick<ArtifactAnswer, 'mtime'>): bigint | null =>
  typeof mtime !== 'string' ? null : parseIsoNs(mtime);

const temporaryBeside = (target: string): string => join(dirname(target), `.flashpods-${randomUUID()}.part`);

/**
 * Makes a file of what `fill` writes, with the artifact's mode: whole and checked, or not at all.
 * @throws ClientError file_exists, download_failed; what `fill` throws
 */
export async function storeFile(
  artifact: ArtifactAnswer,
  target: string,
  { force, signal }: DownloadOptions,
  fill: (file: FileHandle) => Promise<Received>,
): Promise<void> {
  const temporary = temporaryBeside(target);
  try {
    if (!force && (await exists(target))) throw fileExists(target);
    const file = await open(temporary, 'wx', 0o666);
    try {
      const { bytes, sha256 } = await fill(file);
      if (bytes !== artifact.size_bytes || sha256 !== artifact.sha256) {
        throw new ClientError(
          'download_failed',
          `${artifact.name} arrived with other bytes than its SHA-256 promises.`,
        );
      }
      const mode = modeOf(artifact);
      if (mode !== null) await file.chmod(mode);
    } finally {
      await file.close();
    }
    if (force) await rename(temporary, target);
    else await moveToFree(temporary, target);
  } catch (error) {
    signal?.throwIfAborted();
    throw asClientError(error, target);
  } finally {
    // What is in its way was in the way of the file, too, and has been told.
    await rm(temporary, { force: true }).catch((error: unknown) => {
      if (systemCode(error) === undefined) throw error;
    });
  }
}

export interface Received {
  /** More than the artifact's are not counted to their end. */
  readonly bytes: number;
  readonly sha256: string;
}

async function fetchTo(
  client: FlashpodsClient,
  jobId: string,
  artifact: ArtifactAnswer,
  file: FileHandle,
  signal: AbortSignal | undefined,
): Promise<Received> {
  const hash = createHash('sha256');
  let bytes = 0;
  const retries = new Retries(client.connection.retry);
  for (;;) {
    try {
      for await (const chunk of received(client, jobId, artifact, bytes, signal)) {
        bytes += chunk.length;
        if (bytes > artifact.size_bytes) break;
        hash.update(chunk);
        await file.writeFile(chunk);
      }
      return { bytes, sha256: hash.digest('hex') };
    } catch (error) {
      signal?.throwIfAborted();
      // What came is kept, and the rest is asked for; opening the stream is retried where it is opened.
      const delayMs = error instanceof Broken ? retries.delayAfter(error.cause) : null;
      if (delayMs === null) throw error instanceof Broken ? error.asClientError(artifact.name) : error;
      await pause(delayMs, signal);
      signal?.throwIfAborted();
    }
  }
}

/** A connection that broke in the middle of an artifact. */
class Broken extends Error {
  constructor(cause: unknown) {
    super('the connection broke', {
      cause: new ClientError('not_reachable', 'The connection broke.', { cause }),
    });
  }

  asClientError(name: string): ClientError {
    const message = `The connection broke while ${name} was fetched.`;
    return new ClientError('download_failed', message, { cause: this.cause });
  }
}

/** The artifact's bytes from a byte on. Tells a connection that broke from a disk that is full. */
async function* received(
  client: FlashpodsClient,
  jobId: string,
  { name, size_bytes }: ArtifactAnswer,
  from: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  if (from > 0 && from >= size_bytes) return;
  const response = await client.openArtifact(jobId, name, signal, from);
  // If the server sends all of it anyhow, the beginning is dropped; the SHA-256 tells whether it fits.
  let surplus = response.statusCode === 206 ? 0 : from;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (chunk.length > surplus) yield chunk.subarray(surplus);
      surplus = Math.max(0, surplus - chunk.length);
    }
  } catch (cause) {
    throw new Broken(cause);
  } finally {
    response.destroy();
  }
}

const exists = (path: string): Promise<boolean> => lstat(path).then(() => true, ifMissing(false));
