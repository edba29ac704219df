import { Readable } from 'node:stream';
import { FlashpodsError } from '../../../src/errors.ts';
import { BEGINNING, type EventsCursor, parseEventId } from '../../../src/jobs/events-cursor.ts';
import { EventsFeed } from '../../../src/jobs/events-feed.ts';
import { isTerminal } from '../../../src/jobs/states.ts';
import { abandonedOf, type RouteContext, viewOf } from '../../context.ts';
import { operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { jobIdParams } from '../jobs/schema.ts';
import { eventsHeaders, eventsQuery } from './schema.ts';
import { allEvents, jobEvents, type StreamResources } from './stream.ts';

const KEEP_ALIVE_MS = 15_000;
/** A listener that does not even take the end of its stream when the server stops is cut off after this time. */
const FAREWELL_MS = 1_000;

const DATA =
  'Each event is `event`, `data` (JSON) and `id`. `state`: the whole job, as `GET /jobs/{id}` shows it, for every ' +
  'entry of the journal. `artifact`: `{job_id,name,size_bytes,sha256,created_at}`, all of a job’s before the state that ends it.';
const RESUMING =
  'A stream that is resumed after an `id` has no gap and no repetition. A comment comes every 15 seconds.';

export const eventOperations = ({
  jobs,
  queries,
  journal,
  logs,
  logger,
}: Pick<ApiResources, 'jobs' | 'queries' | 'journal' | 'logs' | 'logger'>): readonly Operation[] => {
  const feed = new EventsFeed({
    journal,
    queries,
    onChange: (listener) => jobs.onChange(listener),
    wait: (job) => jobs.wait(job),
    logger,
  });
  const resources: StreamResources = { feed, logs, logger, keepAliveMs: KEEP_ALIVE_MS };

  /** @throws FlashpodsError events_expired, invalid_request */
  async function cursorFrom(
    ctx: RouteContext,
    lastEventId: string | undefined,
    logBytes: () => Promise<number>,
    fresh: (newest: number) => EventsCursor,
  ): Promise<EventsCursor> {
    // An EventSource repeats its address, and knows better by then.
    const header = ctx.get('Last-Event-ID');
    const field = header === '' ? 'last_event_id' : 'Last-Event-ID';
    const id = header === '' ? lastEventId : header;
    const { oldest, newest } = await journal.bounds();
    if (id === undefined) return fresh(newest);
    const cursor = parseEventId(id);
    const beyond =
      !cursor ||
      cursor.after + (cursor.artifacts > 0 ? 1 : 0) > newest ||
      (cursor.logOffset > 0 && cursor.logOffset > (await logBytes()));
    if (beyond) {
      const message = `\`${field}\`: must be the \`id\` of an event of this server`;
      throw new FlashpodsError('invalid_request', message, { details: { field } });
    }
    if (cursor.after + 1 < oldest) {
      throw new FlashpodsError('events_expired', undefined, { details: { oldest_position: oldest } });
    }
    return cursor;
  }

  return [
    operation({
      id: 'listJobEvents',
      tag: 'events',
      method: 'get',
      path: '/jobs/{id}/events',
      summary: 'What happens to a job, and what it prints, as server-sent events',
      description: `${DATA} \`log\`: \`{lines:[{seq,time,stream,text,partial?}],next_offset}\`. From the job’s beginning to its end, unless an \`id\` says from where; the stream ends after the state that ends the job. ${RESUMING}`,
      scope: 'jobs:read',
      browsers: true,
      params: jobIdParams,
      query: eventsQuery,
      headers: eventsHeaders,
      answers: {
        200: { description: 'The stream.', content: { 'text/event-stream': 'text' } },
        204: { description: 'All was told: an `EventSource` does not come again.' },
      },
      errors: ['invalid_request', 'job_not_found', 'events_expired', 'too_many_open'],
      async handle(ctx, { params, query }) {
        const job = await jobs.get(params.id, viewOf(ctx));
        // Of a log that is deleted nothing can be told twice or left out.
        const logBytes = async (): Promise<number> => (await logs.size(job.id)) ?? Number.POSITIVE_INFINITY;
        const cursor = await cursorFrom(ctx, query.last_event_id, logBytes, () => BEGINNING);
        if (isTerminal(job.status)) {
          const rest = await journal.read({ jobId: job.id, afterPosition: cursor.after, limit: 1 });
          if (rest.length === 0) {
            if ((await journal.read({ jobId: job.id, limit: 1 })).length === 0)
              throw new FlashpodsError('events_expired');
            ctx.status = 204;
            return;
          }
        }
        stream(ctx, (abandoned) => jobEvents(resources, cursor, job, abandoned));
      },
    }),
    operation({
      id: 'listEvents',
      tag: 'events',
      method: 'get',
      path: '/events',
      summary: 'What happens to all jobs that you may see, as server-sent events',
      description: `${DATA} From now on, unless an \`id\` says from where: \`0\` is the beginning. ${RESUMING}`,
      scope: 'jobs:read',
      browsers: true,
      query: eventsQuery,
      headers: eventsHeaders,
      answers: { 200: { description: 'The stream.', content: { 'text/event-stream': 'text' } } },
      errors: ['invalid_request', 'events_expired', 'too_many_open'],
      async handle(ctx, { query }) {
        // An offset is of the log of the job that the id came from: it says nothing here.
        const noLog = (): Promise<number> => Promise.resolve(Number.POSITIVE_INFINITY);
        const cursor = await cursorFrom(ctx, query.last_event_id, noLog, (newest) => ({
          ...BEGINNING,
          after: newest,
        }));
        const viewer = viewOf(ctx);
        stream(ctx, (abandoned) => allEvents(resources, cursor, viewer, abandoned));
      },
    }),
  ];
};

function stream(ctx: RouteContext, begin: (abandoned: AbortSignal) => AsyncGenerator<string>): void {
  const abandoned = ctx.method === 'HEAD' ? null : abandonedOf(ctx, 'streams');
  ctx.status = 200;
  ctx.set('Content-Type', 'text/event-stream; charset=utf-8');
  ctx.set('Cache-Control', 'no-store, no-transform');
  // nginx collects answers otherwise.
  ctx.set('X-Accel-Buffering', 'no');
  if (abandoned === null) {
    ctx.body = '';
    return;
  }
  ctx.body = Readable.from(begin(abandoned), { objectMode: false, highWaterMark: 16 * 1024 });
  const cut = (): void => {
    if (ctx.res.destroyed) return;
    const timer = setTimeout(() => ctx.res.destroy(), FAREWELL_MS);
    ctx.res.once('close', () => clearTimeout(timer));
  };
  if (abandoned.aborted) cut();
  else abandoned.addEventListener('abort', cut, { once: true });
}
