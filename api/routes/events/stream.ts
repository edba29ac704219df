/**
 * The two streams of events, as generators: what is asked of them next is made when the socket has taken what came
 * before, so a slow reader keeps no more than one piece of it here.
 */
import { FlashpodsError } from '../../../src/errors.ts';
import type { Logger } from '../../../src/observability/logger.ts';
import type { EventsFeed } from '../../../src/jobs/events-feed.ts';
import { artifactId, entryId, type EventsCursor } from '../../../src/jobs/events-cursor.ts';
import type { EventEntry } from '../../../src/jobs/events-entry.ts';
import type { Job } from '../../../src/jobs/job.ts';
import { isHosted, isTerminal } from '../../../src/jobs/states.ts';
import type { LogRecords, LogStore } from '../../../src/logs/log-store.ts';
import { Bell, pause } from '../../../src/timing/bell.ts';
import { entryEvents, KEEP_ALIVE, logEvent, opening, withId } from './present.ts';

export interface StreamResources {
  readonly feed: EventsFeed;
  readonly logs: Pick<LogStore, 'follow'>;
  readonly logger: Logger;
  /** Time between two comments, which keep proxies from closing a quiet stream. */
  readonly keepAliveMs: number;
}

/** A read that failed is tried again after this time. */
const RETRY_MS = 1_000;
/** How often the log of a job that a host holds is looked at: while it does not exist yet, and as a fallback. */
const LOG_ABSENT_MS = 20;
const LOG_FALLBACK_MS = 2_000;

type Events = AsyncGenerator<string, void, void>;

/** Every entry of the journal after the cursor that the viewer may see, for as long as anybody listens. */
export async function* allEvents(
  resources: StreamResources,
  cursor: EventsCursor,
  viewer: string | null,
  abandoned: AbortSignal,
): Events {
  const bell = new Bell(abandoned);
  const beat = new Heartbeat(resources.keepAliveMs);
  const stop = resources.feed.listen(null, bell.ring);
  try {
    yield opening(cursor.artifacts > 0 ? null : entryId(cursor.after, null));
    let { after } = cursor;
    while (!abandoned.aborted) {
      const page = yield* patiently(resources.logger, abandoned, () => resources.feed.read(after, null));
      if (!page) return;
      for (const entry of page.entries) {
        if (viewer !== null && entry.job.owner !== viewer) continue;
        yield* tell(entry, null, cursor);
        if (abandoned.aborted) return;
      }
      if (beat.due()) yield KEEP_ALIVE;
      if (page.seen > after) after = page.seen;
      else await bell.wait(beat.inMs());
    }
  } finally {
    stop();
  }
}

/**
 * One job from the cursor to its end: its states as they come, its log, and before the state that ends it the rest of
 * its log and its artifacts. Ends after that state, or after what has been done to the job since.
 */
export async function* jobEvents(
  resources: StreamResources,
  cursor: EventsCursor,
  job: Job,
  abandoned: AbortSignal,
): Events {
  const bell = new Bell(abandoned);
  const beat = new Heartbeat(resources.keepAliveMs);
  const log = resources.logs.follow(job.id, bell.ring);
  const stop = resources.feed.listen(job.id, bell.ring);
  const told: Told = { position: cursor.after, logOffset: cursor.logOffset };
  /** The next piece of the log, as it was at `notBefore` or later; whether there may be more at once. */
  async function* tellLog(notBefore: number): AsyncGenerator<string, boolean, void> {
    const read = (): Promise<LogRecords | null> => log.page(told.logOffset, notBefore);
    const page = yield* patiently(resources.logger, abandoned, read);
    if (!page || page.records.length === 0 || page.nextOffset <= told.logOffset) return false;
    yield withId(entryId(told.position, page.nextOffset), logEvent(page));
    told.logOffset = page.nextOffset;
    return !abandoned.aborted;
  }
  let { after } = cursor;
  let { status } = job;
  // Not by the row: the feed may not have read yet what made it terminal.
  let ended = false;
  try {
    yield opening(null);
    while (!abandoned.aborted) {
      const page = yield* patiently(resources.logger, abandoned, () => resources.feed.read(after, job.id));
      if (!page) return;
      for (const entry of page.entries) {
        status = entry.job.status;
        ended = isTerminal(status);
        // All of it is there: a worker writes the end of the log before the end of the job.
        if (ended) while (yield* tellLog(entry.readAt));
        if (abandoned.aborted) return;
        yield* tell(entry, told.logOffset, cursor);
        told.position = entry.event.position;
      }
      if (beat.due()) yield KEEP_ALIVE;
      if (page.seen > after) {
        after = page.seen;
        continue;
      }
      if (ended) return;
      if (yield* tellLog(performance.now() - LOG_ABSENT_MS)) continue;
      const lookAgainMs = !isHosted(status) ? Infinity : log.watched ? LOG_FALLBACK_MS : LOG_ABSENT_MS;
      await bell.wait(Math.min(beat.inMs(), lookAgainMs));
    }
  } finally {
    stop();
    log.stop();
  }
}

interface Told {
  position: number;
  logOffset: number;
}

/** An entry's artifacts, but for those that the cursor says were told, and then its state. */
function* tell(entry: EventEntry, logOffset: number | null, cursor: EventsCursor): Generator<string> {
  const { position } = entry.event;
  const { artifacts, state } = entryEvents(entry);
  const skipped = position === cursor.after + 1 ? cursor.artifacts : 0;
  for (const [index, artifact] of artifacts.entries()) {
    if (index >= skipped) yield withId(artifactId(position, logOffset, index + 1), artifact);
  }
  yield withId(entryId(position, logOffset), state);
}

/**
 * Reads until it succeeds, with a comment after every failure: the listener stays, and misses nothing.
 * @returns null when the stream is to end: nobody listens, or what comes next is deleted
 */
async function* patiently<T>(
  logger: Logger,
  abandoned: AbortSignal,
  read: () => Promise<T>,
): AsyncGenerator<string, T | null, void> {
  while (!abandoned.aborted) {
    try {
      return await read();
    } catch (error) {
      if (error instanceof FlashpodsError && error.code === 'events_expired') return null;
      logger.debug({ err: error }, 'a listener of events could not be served; trying again');
      await pause(RETRY_MS, abandoned);
      yield KEEP_ALIVE;
    }
  }
  return null;
}

class Heartbeat {
  readonly #everyMs: number;
  #at: number;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
    this.#at = performance.now() + everyMs;
  }

  inMs(): number {
    return Math.max(1, this.#at - performance.now());
  }

  due(): boolean {
    if (performance.now() < this.#at) return false;
    this.#at = performance.now() + this.#everyMs;
    return true;
  }
}
