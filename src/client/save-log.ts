import { randomBytes } from 'node:crypto';
import { link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import type { LogStart } from '../logs/log-store.ts';
import { printedBytes } from '../logs/log-store.ts';
import { ClientError } from './client-error.ts';
import type { FlashpodsClient } from './client.ts';

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
    if (!force && (await stat(target).catch(ifMissing(null)))) throw isThere(target);
    await mkdir(dirname(target), { recursive: true });
    const file = await open(draft, 'wx', 0o600);
    let bytes = 0;
    try {
      let start: LogStart = { offset: 0 };
      for (;;) {
        const page = await client.log(id, start, signal);
        if (page === null)
          throw new ClientError('logs_not_available', `Nothing has been captured for ${id} yet.`);
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
    await rm(draft, { force: true }).catch(() => undefined); // the first error tells more
    if (error instanceof ClientError || systemCode(error) === undefined) throw error;
    throw new ClientError('download_failed', `${target} can't be written (${systemCode(error)}).`, {
      cause: error,
    });
  }
}

const isThere = (target: string): ClientError =>
  new ClientError('file_exists', `${target} is there already.`);

/** What a file system without hard links answers. */
const NO_LINKS: readonly (string | undefined)[] = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/** A rename would replace what has come there meanwhile. */
async function moveToFree(draft: string, target: string): Promise<void> {
  try {
    await link(draft, target);
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw isThere(target);
    if (!NO_LINKS.includes(systemCode(error))) throw error;
    await rename(draft, target);
    return;
  }
  await rm(draft);
}
