import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { showAge, showBytes } from '../quantity.ts';
import { advised } from '../report.ts';
import { type Column, table } from '../table.ts';
import { sanitize } from '../terminal.ts';

export interface RemoveCachesOptions {
  readonly scope?: string;
  readonly owner?: string;
}

const COLUMNS: readonly Column[] = [
  { title: 'NAME' },
  { title: 'SCOPE' },
  { title: 'OWNER' },
  { title: 'SIZE', right: true },
  { title: 'WRITTEN', right: true },
  { title: 'BY' },
  { title: 'USED', right: true },
  { title: 'HITS', right: true },
  { title: 'HOST' },
];

/** Lists the caches that hosts keep. */
export async function listCaches(context: CliContext): Promise<number> {
  const client = await context.client();
  const caches = await client.caches(context.untilInterrupted());
  const ago = (time: string): string => `${showAge((Date.now() - Date.parse(time)) / 1_000)} ago`;
  const rows = caches.map((cache) =>
    [
      cache.name,
      cache.scope,
      cache.owner,
      showBytes(cache.size_bytes),
      ago(cache.written_at),
      cache.written_by,
      ago(cache.used_at),
      String(cache.hits),
      cache.host,
    ].map(sanitize),
  );
  await context.show({ caches }, () => table(COLUMNS, rows).join('\n'));
  if (caches.length === 0 && !context.json && context.err.isTTY)
    context.notice('no host keeps a cache; a job with `--cache npm:write` makes one');
  return ExitCode.fine;
}

export async function removeCaches(
  names: readonly string[],
  { scope, owner }: RemoveCachesOptions,
  context: CliContext,
): Promise<number> {
  const client = await context.client();
  for (const name of names) {
    const hosts = await client
      .removeCache(name, { scope, owner }, context.untilInterrupted())
      .catch((error: unknown) => {
        throw advised(error, '`flashpods cache ls` lists them.');
      });
    // One at a time: where the next can't be removed, what is gone has been said.
    if (context.json) await context.out.json({ name, hosts });
    else await context.out.line(sanitize(`${name}: removed from ${hosts.join(', ')}`));
  }
  return ExitCode.fine;
}
