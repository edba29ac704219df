import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ifMissing } from '../files/if-missing.ts';
import type { LogStart } from '../logs/log-store.ts';
import { printedBytes } from '../logs/log-store.ts';
import { asClientError, fileExists } from './artifact-places.ts';
import { ClientError } from './client-error.ts';
import type { FlashpodsClient } from './client.ts';
import { moveToFree } from './move-to-free.ts';

/**
 * Writes what a job has printed so far to a file, with both streams as they came and the line that says what is left
 * out, and nothing else of ours. The file appears whole or not at all.
 * @returns its bytes
 * @throws ClientError file_exists unless `force`, download_failed, logs_not_available, and what the server answers
 */
export async function saveLog(
  client: Pick<FlashpodsClient, 'log'>,
  id: string,
  target: string,
  { force, signal }: { readonly force: boolean; readonly signal: AbortSignal },
): Promise<number> {
  // Others may write into the directory, and must not know the name before it is there.
  const draft = `${target}.${randomBytes(8).toString('hex')}.part`;
  try {
    if (!force && (await stat(target).catch(ifMissing(null)))) throw fileExists(target);
    await mkdir(dirname(target), { recursive: true });
    const file = await open(draft, 'wx', 0o600);
    let bytes = 0;
    try {
      let start: LogStart = { offset: 0 };
      for (;;) {
        const page = await client.log(id, start, signal);
        if (page === null) throw new ClientError('logs_not_available', `${id} has printed nothing yet.`);
        const part = Buffer.concat(
          page.lines
            .filter(({ stream, text }) => stream !== 'system' || text.startsWith('[TRUNCATED'))
            .map(printedBytes),
        );
        await file.writeFile(part);
        bytes += part.length;
        if (page.nextOffset <= start.offset || page.nextOffset >= page.totalBytes) break;
        start = { offset: page.nextOffset };
      }
    } finally {
      await file.close();
    }
    if (force) await rename(draft, target);
    else await moveToFree(draft, target);
    return bytes;
  } catch (error) {
    throw asClientError(error, target);
  } finally {
    await rm(draft, { force: true }).catch(() => undefined); // an error before it tells more
  }
}
