import type { Context } from 'koa';
import { Readable } from 'node:stream';
import type { JobResults } from '../../../src/jobs/results.ts';
import {
  grepText,
  type LogRecords,
  type LogStart,
  printedBytes,
  type SearchQuery,
} from '../../../src/logs/log-store.ts';
import { abandonedOf, viewOf } from '../../context.ts';
import { operation, type Operation } from '../../operation.ts';
import type { z } from 'zod';
import { jobIdParams, outputQuery, outputSchema } from './schema.ts';

const DEFAULT_TAIL = 100;
/** Of a log that is sent to its end, in memory at once. */
const RAW_PAGE_BYTES = 256 * 1024;
/** Of the lines that are found, in one answer. */
const SEARCH_BYTES = 60_000;

export const outputOperations = (results: JobResults): readonly Operation[] => [
  operation({
    id: 'getOutput',
    tag: 'logs and artifacts',
    method: 'get',
    path: '/jobs/{id}/output',
    summary: 'What the job printed',
    description:
      'The last lines, or from a byte or a line on, or what `grep` finds with its surroundings (`LINE:` before what matches, `LINE-` before what does not): a reader who goes on at `next_offset` misses nothing and reads nothing twice. ' +
      'With `format=ndjson` one object a line, `{seq,time,stream,text}`; `partial` where a line of more than 64 KiB goes on, ' +
      '`unended` where the job did not print its newline, `bytes` (base64) where it is not UTF-8. With `format=raw` what the job ' +
      'printed, byte for byte, to the end of the log as it is now.',
    scope: 'jobs:read',
    params: jobIdParams,
    query: outputQuery,
    answers: {
      200: {
        description: 'A part of the log.',
        content: {
          'application/json': outputSchema,
          'application/x-ndjson': 'text',
          'application/octet-stream': 'binary',
        },
        headers: {
          'X-Next-Offset': 'with `ndjson`: the byte to go on at',
          'X-Total-Bytes': 'with `ndjson`: size of the log',
          'X-Printed-Bytes': 'with `ndjson`: what the job itself printed',
          'X-Next-Line': 'with `ndjson` and `grep`: the line to go on at, or `none`',
          'X-Log-Truncated': 'with `raw`: `true` where the middle of the log is left out',
        },
      },
    },
    errors: ['invalid_request', 'job_not_found', 'logs_not_available', 'logs_deleted', 'too_many_open'],
    async handle(ctx, { params: { id }, query }) {
      const { format, stream = 'stdout' } = query;
      if (format === 'raw') {
        // It takes as long as the client reads.
        if (ctx.method !== 'HEAD') {
          const abandoned = abandonedOf(ctx, 'streams');
          const cut = (): void => void ctx.res.destroy();
          if (abandoned.aborted) cut();
          else abandoned.addEventListener('abort', cut, { once: true });
        }
        const pages = rawPages(results, id, viewOf(ctx), startOf(query));
        const { value: first } = await pages.next();
        ctx.set('X-Log-Truncated', String(first?.truncated ?? false));
        ctx.set('Content-Type', 'application/octet-stream');
        ctx.body = Readable.from(bytesOf(first, pages, stream), { objectMode: false });
        return;
      }
      const owner = viewOf(ctx);
      if (query.grep !== undefined) {
        const abandoned = abandonedOf(ctx, 'waiting_requests');
        const found = await results.search(id, owner, searchOf(query, query.grep), abandoned);
        if (format === 'ndjson') return sendRecords(ctx, found, found.nextLine);
        ctx.body = {
          output: grepText(found.records),
          lines: found.records.length,
          truncated: found.truncated,
          total_bytes: found.totalBytes,
          printed_bytes: found.printedBytes,
          next_offset: found.nextOffset,
          matches: found.matches,
          next_line: found.nextLine,
        };
        return;
      }
      const from = startOf(query);
      const limits = { maxLines: query.head };
      if (format === 'ndjson') return sendRecords(ctx, await results.records(id, owner, from, limits));
      const page = await results.text(id, owner, from, limits);
      ctx.body = {
        output: page.output.toString('utf8'),
        lines: page.lines,
        truncated: page.truncated || ('cut' in page && page.cut === true),
        total_bytes: page.totalBytes,
        printed_bytes: page.printedBytes,
        next_offset: page.nextOffset,
      };
    },
  }),
];

type Query = z.output<typeof outputQuery>;

function startOf({ tail, offset, from_line: line, head, format }: Query): LogStart {
  if (tail !== undefined) return { tail };
  if (line !== undefined) return { line };
  if (offset !== undefined || head !== undefined || format === 'raw') return { offset: offset ?? 0 };
  return { tail: DEFAULT_TAIL };
}

export const searchOf = (
  { from_line: line = 1, ignore_case: ignoreCase, context = 0 }: Query,
  pattern: string,
): SearchQuery => ({
  pattern,
  ignoreCase: ignoreCase === 'true',
  context,
  line,
  maxBytes: SEARCH_BYTES,
});

function sendRecords(ctx: Context, page: LogRecords, nextLine?: number | null): void {
  ctx.set('X-Next-Offset', String(page.nextOffset));
  ctx.set('X-Total-Bytes', String(page.totalBytes));
  ctx.set('X-Printed-Bytes', String(page.printedBytes));
  if (nextLine !== undefined) ctx.set('X-Next-Line', nextLine === null ? 'none' : String(nextLine));
  ctx.body = page.records.map((record) => `${JSON.stringify(record)}\n`).join('');
  ctx.set('Content-Type', 'application/x-ndjson; charset=utf-8');
}

/** The log from there to its end as it is when it is begun. */
async function* rawPages(
  results: JobResults,
  id: string,
  owner: string | null,
  from: LogStart,
): AsyncGenerator<LogRecords, undefined, void> {
  const limits = { maxBytes: RAW_PAGE_BYTES };
  let page = await results.records(id, owner, from, limits);
  const end = page.totalBytes;
  for (let at = -1; page.nextOffset > at; page = await results.records(id, owner, { offset: at }, limits)) {
    yield page;
    if (page.nextOffset >= end) return;
    at = page.nextOffset;
  }
}

async function* bytesOf(
  first: LogRecords | undefined,
  rest: AsyncGenerator<LogRecords, undefined, void>,
  wanted: 'stdout' | 'stderr' | 'all',
): AsyncGenerator<Buffer, void, void> {
  const select = ({ records }: LogRecords): Buffer =>
    Buffer.concat(
      records
        .filter(({ stream }) => (wanted === 'all' ? stream !== 'system' : isOf(stream, wanted)))
        .map(printedBytes),
    );
  if (first) yield select(first);
  for await (const page of rest) yield select(page);
}

const isOf = (stream: string, wanted: string): boolean =>
  stream === wanted || (stream === 'merged' && wanted === 'stdout');
