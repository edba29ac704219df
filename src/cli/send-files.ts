import type { FlashpodsClient } from '../client/client.ts';
import { DEFAULT_EXCLUDES, listTree } from '../client/upload/tree.ts';
import { uploadTree } from '../client/upload/upload.ts';
import type { CliContext } from './context.ts';
import { count, showBytes } from './quantity.ts';
import { StatusLine } from './status-line.ts';
import { sanitize } from './terminal.ts';

const BAR_CELLS = 24;

/** Uploads a directory with a progress bar. @returns the id of the finalized upload */
export async function sendFiles(
  client: FlashpodsClient,
  directory: string,
  { exclude }: { readonly exclude: readonly string[] },
  context: CliContext,
  signal: AbortSignal,
): Promise<string> {
  const line = new StatusLine(context.err);
  line.show(`reading ${directory}`);
  try {
    const excludes = [...(client.connection.defaultExclude ?? DEFAULT_EXCLUDES), ...exclude];
    const tree = await listTree(directory, { excludes, signal });
    line.clear();
    for (const notice of tree.notices) context.notice(sanitize(notice));
    const began = performance.now();
    const upload = await uploadTree(client, tree, {
      signal,
      onProgress: (bytes, total) => line.show(bar(bytes, total, (performance.now() - began) / 1_000)),
      onRetry: (error, delayMs) => {
        line.clear();
        context.notice(
          `${error.code}: ${error.message} The upload begins anew in ${(delayMs / 1_000).toFixed(1)} s.`,
        );
      },
    });
    line.clear();
    const took = ((performance.now() - began) / 1_000).toFixed(1);
    context.notice(`uploaded ${count(tree.files, 'file')}, ${showBytes(tree.bytes)}, in ${took} s`);
    return upload.upload_id;
  } finally {
    line.clear();
  }
}

/** `uploading ███████░░░ 45 % of 27.0 MB · 8.1 MB/s` */
function bar(bytes: number, total: number, seconds: number): string {
  const part = total === 0 ? 1 : bytes / total;
  const full = Math.round(part * BAR_CELLS);
  const cells = '█'.repeat(full) + '░'.repeat(BAR_CELLS - full);
  const rate = seconds < 0.2 ? '' : ` · ${showBytes(Math.round(bytes / seconds))}/s`;
  return `uploading ${cells} ${Math.floor(part * 100)} % of ${showBytes(total)}${rate}`;
}
