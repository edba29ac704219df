import type { JobResults } from '../../../src/jobs/results.ts';
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
      'With `format=ndjson` one object a line, `{seq,time,stream,text}`, and `partial` where a line of more than 64 KiB goes on.',
    scope: 'jobs:read',
    params: jobIdParams,
    query: outputQuery,
    answers: {
      200: {
        description: 'A part of the log.',
        content: { 'application/json': outputSchema, 'application/x-ndjson': 'text' },
        headers: {
          'X-Next-Offset': 'with `ndjson`: the byte to go on at',
          'X-Total-Bytes': 'with `ndjson`: size of the log',
        },
      },
    },
    errors: ['invalid_request', 'job_not_found', 'logs_not_available', 'logs_deleted'],
    async handle(ctx, { params: { id }, query: { tail = DEFAULT_TAIL, offset, format } }) {
      const from = offset === undefined ? { tail } : { offset };
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
