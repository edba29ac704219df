/** Server-sent events as they go over the wire (WHATWG HTML, 9.2): the part that all listeners share, without ids. */
import type { EventEntry } from '../../../src/jobs/events-entry.ts';
import type { LogRecords } from '../../../src/logs/log-store.ts';
import { presentArtifact, presentJob } from '../jobs/present.ts';

export const KEEP_ALIVE = ':\n\n';

/** Begins a stream; carries where it begins, if that is no event's own id. An EventSource remembers it. */
export const opening = (id: string | null): string =>
  `: flashpods\nretry: 1000\n${id === null ? '' : `id: ${id}\n`}\n`;

/** One event with its id. */
export const withId = (id: string, event: string): string => `id: ${id}\n${event}`;

const event = (name: string, data: unknown): string => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

interface EntryEvents {
  readonly artifacts: readonly string[];
  readonly state: string;
}

const presented = new WeakMap<EventEntry, EntryEvents>();

/** Made once an entry, however many listeners get it. */
export function entryEvents(entry: EventEntry): EntryEvents {
  let events = presented.get(entry);
  if (!events) {
    const { job, wait, current } = entry;
    const now = current ? Date.now() : entry.event.at;
    events = {
      artifacts: entry.artifacts.map((artifact) =>
        event('artifact', { job_id: job.id, ...presentArtifact(artifact) }),
      ),
      state: event('state', presentJob(job, wait, now)),
    };
    presented.set(entry, events);
  }
  return events;
}

const logs = new WeakMap<LogRecords, string>();

export function logEvent(page: LogRecords): string {
  let text = logs.get(page);
  if (text === undefined) {
    text = event('log', { lines: page.records, next_offset: page.nextOffset });
    logs.set(page, text);
  }
  return text;
}
