import { pause } from '../../timing/bell.ts';
import { pipeline } from 'node:stream/promises';
import { createZstdCompress } from 'node:zlib';
import type { CreatedUpload, UploadAnswer } from '../answers.ts';
import type { FlashpodsClient } from '../client.ts';
import { ClientError } from '../client-error.ts';
import { isLoopback } from '../loopback.ts';
import { Retries, type RetryPolicy } from '../retry.ts';
import { FileChanged, packTree } from './pack.ts';
import type { RawName } from '../../trees/directory.ts';
import { RsyncUnavailable, requireRsync, rsyncTarget, sendByRsync } from './rsync.ts';
import type { Tree } from './tree.ts';

export type Transport = 'rsync' | 'http';

/** What an upload took: `none` when the server had all of it. */
export interface Sent {
  readonly transport: Transport | 'none';
  readonly files: number;
  readonly bytes: number;
  /** What was listed and was gone, or something else, when its turn came. */
  readonly vanished?: readonly RawName[];
}

export interface UploadOptions {
  /** An earlier upload that the tree is a change of. */
  readonly base?: string;
  /** Over HTTP: paths of the base that the new one lacks. */
  readonly deleted?: readonly string[];
  /** Whether many jobs may use it, and later uploads build upon it. */
  readonly reusable?: boolean;
  /** Bytes read of all bytes; begins again at 0 when the upload has to be sent again. */
  readonly onProgress?: (bytes: number, total: number) => void;
  readonly onRetry?: (error: ClientError, delayMs: number) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface Uploaded {
  readonly upload: UploadAnswer;
  readonly sent: Sent;
}

/**
 * Sends a tree as a tar stream and makes its snapshot; with a base, the tree is what changed. A transfer that breaks is
 * begun anew as another upload, as often as retries allow: what the broken one left on the server is deleted there, or
 * expires.
 * @throws ClientError upload_disk_full (507), upload_failed, or what the API answered
 */
export async function uploadTree(
  client: FlashpodsClient,
  tree: Tree,
  options: UploadOptions = {},
): Promise<Uploaded> {
  return untilSent(client, options, async ({ upload_id: id }) => {
    const vanished = tree.entries.length > 0 ? await sendByHttp(client, tree, id, options) : [];
    const { reusable = false, deleted = [], signal } = options;
    const rest = deleted.length === 0 ? {} : { delete: deleted };
    const upload = await client.finalizeUpload(id, { reusable, ...rest }, signal);
    return { upload, sent: { transport: 'http', files: tree.files, bytes: tree.bytes, ...heard(vanished) } };
  });
}

/**
 * Sends a whole tree by rsync and makes its snapshot; what the base has is not sent. A transfer that breaks goes on in
 * the same upload.
 * @throws RsyncUnavailable when it can't go by rsync, RsyncBroken when it broke again and again; otherwise as
 *   {@link uploadTree}
 */
export async function uploadTreeByRsync(
  client: FlashpodsClient,
  tree: Tree,
  options: UploadOptions = {},
): Promise<Uploaded> {
  if (tree.isComposed)
    throw new RsyncUnavailable('a .git is put together from several directories, which rsync can’t do');
  await requireRsync(options.signal);
  const present = tree.entries.filter(({ type }) => type !== 'directory').length;
  let begun: CreatedUpload | null = null;
  return untilSent(
    client,
    options,
    async (upload) => {
      begun = upload;
      const target = rsyncTarget(upload, client.connection);
      if (!target) throw new RsyncUnavailable('the server has no rsync daemon that is reached from here');
      const { files, bytes, vanished } = await sendByRsync(
        tree,
        target,
        upload.rsync_password ?? '',
        options,
      ).catch((error: unknown) => explainRefusal(client, upload.upload_id, error));
      const { reusable = false, signal } = options;
      const finalized = await client.finalizeUpload(upload.upload_id, { reusable }, signal);
      const arrived = finalized.file_count ?? 0;
      if (arrived < present && vanished.length === 0)
        throw new RsyncUnavailable(`${arrived} of ${present} files arrived by rsync`);
      return { upload: finalized, sent: { transport: 'rsync', files, bytes, ...heard(vanished) } };
    },
    () => begun,
  );
}

const heard = (vanished: readonly RawName[]): Pick<Sent, 'vanished'> =>
  vanished.length === 0 ? {} : { vanished };

/** rsync only tells that the connection broke; the upload tells when it went over a limit. */
async function explainRefusal(client: FlashpodsClient, id: string, error: unknown): Promise<never> {
  if (!(error instanceof ClientError || error instanceof RsyncUnavailable)) throw error;
  const state = await client.getUpload(id).then(
    (upload) => upload.state,
    () => null,
  );
  const text = `${error.message} ${String((error.cause as { stderr?: unknown } | undefined)?.stderr)}`;
  if (state !== 'expired' && !/insufficient_storage|No space left|File too large|Disk quota/i.test(text))
    throw error;
  const message = 'The upload is larger than the server has room for.';
  throw new ClientError('upload_disk_full', message, { cause: error });
}

/**
 * @param attempt sends into an upload and finalizes it
 * @param goOn an upload of an earlier attempt into which the next one may send the rest
 */
async function untilSent(
  client: FlashpodsClient,
  options: UploadOptions,
  attempt: (upload: CreatedUpload) => Promise<Uploaded>,
  goOn: () => CreatedUpload | null = () => null,
): Promise<Uploaded> {
  const retries = new TransferRetries(client.connection.retry);
  const { base, signal } = options;
  for (;;) {
    const upload = goOn() ?? (await client.createUpload({ base }, signal));
    try {
      return await attempt(upload);
    } catch (error) {
      const failure = error instanceof RsyncUnavailable || signal?.aborted ? null : translate(error);
      const delayMs = failure && retries.delayAfter(failure, error);
      if (delayMs === null || goOn() === null) {
        await client.deleteUpload(upload.upload_id).catch(() => undefined); // it expires anyhow
      }
      signal?.throwIfAborted();
      if (failure === null || delayMs === null) throw failure ?? error;
      options.onRetry?.(failure, delayMs);
      await pause(delayMs, signal);
      signal?.throwIfAborted();
    }
  }
}

/** Smaller than this, compressing takes longer than sending. */
const WORTH_COMPRESSING_BYTES = 64_000;

async function sendByHttp(
  client: FlashpodsClient,
  tree: Tree,
  id: string,
  { onProgress, signal }: UploadOptions,
): Promise<readonly RawName[]> {
  let sent = 0;
  const vanished: RawName[] = [];
  const tar = packTree(tree, {
    onBytes: (bytes) => {
      sent += bytes;
      onProgress?.(Math.min(sent, tree.bytes), tree.bytes);
    },
    onVanished: (path) => vanished.push(path),
  });
  if (isLoopback(client.connection.url) || tree.bytes < WORTH_COMPRESSING_BYTES) {
    await client.putFiles(id, tar, signal);
    return vanished;
  }
  const zstd = createZstdCompress();
  // `pipeline` carries an error of either to the other, and the reader of `zstd` hears of it.
  pipeline(tar, zstd).catch(() => undefined);
  await client.putFiles(id, zstd as AsyncIterable<Uint8Array>, signal, 'zstd');
  return vanished;
}

/** Files that changed while they were read count like a broken connection. */
class TransferRetries {
  readonly #retries: Retries;
  #changes = 0;

  constructor(policy: RetryPolicy) {
    this.#retries = new Retries(policy);
  }

  delayAfter(failure: ClientError, original: unknown): number | null {
    if (!(original instanceof FileChanged)) return this.#retries.delayAfter(failure);
    this.#changes += 1;
    return this.#changes < 3 ? 0 : null;
  }
}

function translate(error: unknown): ClientError {
  if (error instanceof FileChanged)
    return new ClientError('upload_failed', `${error.message}.`, { cause: error });
  if (!(error instanceof ClientError)) throw error;
  if (error.status !== 507) return error;
  return new ClientError('upload_disk_full', error.message, {
    status: 507,
    details: error.details,
    requestId: error.requestId ?? undefined,
    cause: error,
  });
}
