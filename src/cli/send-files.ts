import type { FlashpodsClient } from '../client/client.ts';
import { type DirectoryOptions, uploadDirectory, type SentDirectory } from '../client/upload/directory.ts';
import type { CliContext } from './context.ts';
import { count, showBytes } from './quantity.ts';
import { StatusLine } from './status-line.ts';
import { sanitize } from './terminal.ts';

const BAR_CELLS = 24;

/** Uploads a directory with a progress bar. @returns the id of the finalized upload */
export async function sendFiles(
  client: FlashpodsClient,
  directory: string,
  options: Pick<DirectoryOptions, 'excludes' | 'includes' | 'git' | 'transport'>,
  context: CliContext,
  signal: AbortSignal,
): Promise<string> {
  const line = new StatusLine(context.err);
  line.show(`reading ${directory}`);
  let began = performance.now();
  try {
    const sentDirectory = await uploadDirectory(client, directory, {
      ...options,
      signal,
      onListed: (tree) => {
        line.clear();
        line.show(`uploading ${count(tree.files, 'file')}, ${showBytes(tree.bytes)}`);
        began = performance.now();
      },
      onNotice: (text) => {
        line.clear();
        context.notice(sanitize(text));
      },
      onProgress: (bytes, total) => line.show(bar(bytes, total, (performance.now() - began) / 1_000)),
      onRetry: (error, delayMs) => {
        line.clear();
        context.notice(
          `${error.code}: ${error.message} The upload is tried again in ${(delayMs / 1_000).toFixed(1)} s.`,
        );
      },
    });
    line.clear();
    context.notice(describe(sentDirectory, (performance.now() - began) / 1_000));
    return sentDirectory.upload.upload_id;
  } finally {
    line.clear();
  }
}

/** `uploaded 5001 files, 13.5 MB: 1 changed, 2.7 kB, in 0.4 s` */
function describe({ tree, sent }: SentDirectory, seconds: number): string {
  const all = `uploaded ${count(tree.files, 'file')}, ${showBytes(tree.bytes)}`;
  const took = `in ${seconds.toFixed(1)} s`;
  if (sent.transport === 'none') return `${all}: the server has them already`;
  if (sent.files === tree.files) return `${all}, ${took}`;
  return `${all}: sent ${count(sent.files, 'file')}, ${showBytes(sent.bytes)}, ${took}`;
}

/** `uploading ███████░░░ 45 % of 27.0 MB · 8.1 MB/s` */
function bar(bytes: number, total: number, seconds: number): string {
  const part = total === 0 ? 1 : bytes / total;
  const full = Math.round(part * BAR_CELLS);
  const cells = '█'.repeat(full) + '░'.repeat(BAR_CELLS - full);
  const rate = seconds < 0.2 ? '' : ` · ${showBytes(Math.round(bytes / seconds))}/s`;
  return `uploading ${cells} ${Math.floor(part * 100)} % of ${showBytes(total)}${rate}`;
}
