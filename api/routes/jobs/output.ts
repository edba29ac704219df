import { Readable } from 'node:stream';
import type { JobResults } from '../../../src/jobs/results.ts';
import { type LogRecords, type LogStart, printedBytes } from '../../../src/logs/log-store.ts';
import { viewOf } from '../../context.ts';
import { operation, type Operation } from '../../operation.ts';
import { jobIdParams, outputQuery, outputSchema } from './schema.ts';

const DEFAULT_TAIL = 100;

export const outputOperations = (results: JobResults): readonly Operation[] => [
  operation({
    id: 'getOutput',
    tag: 'logs and artifacts',
    method: 'get',
    path: '/jobs/{id}/output',
    summary: 'What the job printed',
    description:
      'The last lines, or from a byte on: a reader who goes on at `next_offset` misses nothing and reads nothing twice. ' +
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
          'X-Log-Truncated': 'with `raw`: `true` where the middle of the log is left out',
        },
      },
    },
    errors: ['invalid_request', 'job_not_found', 'logs_not_available', 'logs_deleted'],
    async handle(ctx, { params: { id }, query: { tail, offset, format, stream = 'stdout' } }) {
      if (format === 'raw') {
        const pages = rawPages(
          results,
          id,
          viewOf(ctx),
          tail === undefined ? { offset: offset ?? 0 } : { tail },
        );
        const { value: first } = await pages.next();
        ctx.set('X-Log-Truncated', String(first?.truncated ?? false));
        ctx.set('Content-Type', 'application/octet-stream');
        ctx.body = Readable.from(bytesOf(first, pages, stream), { objectMode: false });
        return;
      }
      const from = offset === undefined ? { tail: tail ?? DEFAULT_TAIL } : { offset };
      if (format === 'ndjson') {
        const page = await results.records(id, viewOf(ctx), from);
        ctx.set('X-Next-Offset', String(page.nextOffset));
        ctx.set('X-Total-Bytes', String(page.totalBytes));
        ctx.body = page.records.map((record) => `${JSON.stringify(record)}\n`).join('');
        ctx.set('Content-Type', 'application/x-ndjson; charset=utf-8');
        return;
      }
      const page = await results.text(id, viewOf(ctx), from);
      ctx.body = {
        output: page.output.toString('utf8'),
        lines: page.lines,
        truncated: page.truncated || ('cut' in page && page.cut === true),
        total_bytes: page.totalBytes,
        next_offset: page.nextOffset,
      };
    },
  }),
];

/** The log from there to its end as it is when it is begun. */
async function* rawPages(
  results: JobResults,
  id: string,
  owner: string | null,
  from: LogStart,
): AsyncGenerator<LogRecords, undefined, void> {
  let page = await results.records(id, owner, from);
  const end = page.totalBytes;
  for (let at = -1; page.nextOffset > at; page = await results.records(id, owner, { offset: at })) {
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
