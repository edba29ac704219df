import { setTimeout as sleep } from 'node:timers/promises';
import type { UploadAnswer } from '../answers.ts';
import type { FlashpodsClient } from '../client.ts';
import { ClientError } from '../client-error.ts';
import { Retries, type RetryPolicy } from '../retry.ts';
import { FileChanged, packTree } from './pack.ts';
import type { Tree } from './tree.ts';

export interface UploadOptions {
  /** Bytes read of all bytes; begins again at 0 when the upload has to be sent again. */
  readonly onProgress?: (bytes: number, total: number) => void;
  readonly onRetry?: (error: ClientError, delayMs: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sends a tree and makes its snapshot. A transfer that breaks is begun anew as another upload, as often as
 * retries allow: what the broken one left on the server is deleted there, or expires.
 * @returns the finalized upload
 * @throws ClientError upload_disk_full (507), upload_failed, or what the API answered
 */
export async function uploadTree(
  client: FlashpodsClient,
  tree: Tree,
  options: UploadOptions = {},
): Promise<UploadAnswer> {
  const retries = new TransferRetries(client.connection.retry);
  for (;;) {
    const { upload_id: id } = await client.createUpload(options.signal);
    try {
      await send(client, tree, id, options);
      return await client.finalizeUpload(id, options.signal);
    } catch (error) {
      await client.deleteUpload(id).catch(() => undefined); // it expires anyhow
      options.signal?.throwIfAborted();
      const failure = translate(error);
      const delayMs = retries.delayAfter(failure, error);
      if (delayMs === null) throw failure;
      options.onRetry?.(failure, delayMs);
      await sleep(delayMs, undefined, options.signal ? { signal: options.signal } : {}).catch(
        () => undefined,
      );
      options.signal?.throwIfAborted();
    }
  }
}

async function send(
  client: FlashpodsClient,
  tree: Tree,
  id: string,
  { onProgress, signal }: UploadOptions,
): Promise<void> {
  let sent = 0;
  const tar = packTree(tree, (bytes) => {
    sent += bytes;
    onProgress?.(Math.min(sent, tree.bytes), tree.bytes);
  });
  await client.putFiles(id, tar, signal);
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
