/**
 * The journal for many listeners at once. One loop reads what is new for all of them, woken by announcements and each
 * second in any case, and keeps the last entries; a listener that is further behind reads the database by itself, at
 * its own pace. So a slow one holds up nobody, and nothing is kept for it.
 */
import { FlashpodsError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { Bell, pause } from '../timing/bell.ts';
import { within } from '../timing/within.ts';
import { bringsResult, type EventEntry, jobAt } from './events-entry.ts';
import type { JobEvent } from './events.ts';
import type { Job } from './job.ts';
import type { EventJournal } from './journal.ts';
import type { JobQueries } from './queries.ts';
import { isWaiting } from './states.ts';
import type { Wait } from './wait.ts';

export interface EventsFeedResources {
  readonly journal: Pick<EventJournal, 'readWithJobs' | 'bounds'>;
  readonly queries: Pick<JobQueries, 'artifacts'>;
  /** Calls whenever there may be something new; may miss some. @returns what ends it */
  readonly onChange: (listener: () => void) => () => void;
  readonly wait: (job: Job) => Promise<Wait | null>;
  readonly logger: Logger;
}

/** Announcements may be lost; the loop looks by itself this often. */
const LOOK_EVERY_MS = 1_000;
/** Announcements come in crowds: one look serves all that come within this time. */
const GATHER_MS = 5;
/** Entries of one read of the database. */
const BATCH = 64;
/** What a listener gets at once, and with it the most that a stalled one keeps alive; at least one entry. */
const HANDED_BYTES = 256 * 1024;
/** The last entries, kept for listeners that are about up to date. */
const KEPT_ENTRIES = 512;
const KEPT_BYTES = 8 * 1024 * 1024;
/** The queue's answer only decorates an event, so an absent Redis may not hold the event up for longer. */
const QUEUE_PATIENCE_MS = 100;

interface Listener {
  readonly jobId: string | null;
  readonly wake: () => void;
}

export class EventsFeed {
  readonly #r: EventsFeedResources;
  readonly #listeners = new Set<Listener>();
  #running = false;
  /** Null until the loop knows where the journal ends. */
  #head: number | null = null;
  /** Every entry after `#keptAfter`, up to `#head`. */
  #kept: EventEntry[] = [];
  #keptBytes = 0;
  #keptAfter = 0;
  #failing = false;

  constructor(resources: EventsFeedResources) {
    this.#r = resources;
  }

  /** Calls `wake` when {@link read} may have more: of one job, or of any (null). @returns what ends it */
  listen(jobId: string | null, wake: () => void): () => void {
    const listener = { jobId, wake };
    this.#listeners.add(listener);
    if (!this.#running) void this.#run();
    return () => this.#listeners.delete(listener);
  }

  /**
   * Some of the entries after a position, in their order. Go on after `seen`; when it is no further than `after`,
   * there is nothing more at the moment. Misses nothing, even if more is written meanwhile.
   * @throws FlashpodsError database_error, events_expired when some of those after the position are deleted
   */
  async read(after: number, jobId: string | null): Promise<{ entries: readonly EventEntry[]; seen: number }> {
    const head = this.#head;
    if (head !== null && after >= this.#keptAfter) {
      const entries = this.#kept.filter(
        ({ event }) => event.position > after && (jobId === null || event.jobId === jobId),
      );
      return handOver(entries, Math.max(after, head));
    }
    const found = await this.#r.journal.readWithJobs({
      afterPosition: after,
      limit: BATCH,
      ...(jobId === null ? {} : { jobId }),
    });
    // What a listener that is behind has not seen yet may have been deleted under it.
    if (jobId === null && after + 1 < (await this.#r.journal.bounds()).oldest)
      throw new FlashpodsError('events_expired');
    const last = found.at(-1)?.event.position ?? after;
    const entries = await this.#complete(found);
    // A full page may not be the last one; after any other, all that the loop knew of before was seen.
    return handOver(entries, found.length === BATCH ? last : Math.max(last, head ?? 0));
  }

  /** Runs as long as anybody listens. */
  async #run(): Promise<void> {
    this.#running = true;
    let bell = new Bell();
    const unsubscribe = this.#r.onChange(() => bell.ring());
    while (this.#listeners.size > 0) {
      if (await this.#look()) continue;
      await bell.wait(LOOK_EVERY_MS);
      await pause(GATHER_MS);
      bell = new Bell();
    }
    unsubscribe();
    this.#running = false;
    this.#head = null;
    this.#kept = [];
    this.#keptBytes = 0;
  }

  /** @returns whether there is more to read at once */
  async #look(): Promise<boolean> {
    try {
      const head = this.#head;
      if (head === null) {
        this.#head = this.#keptAfter = (await this.#r.journal.bounds()).newest;
        // A listener that read before may have stopped just short of it.
        for (const { wake } of this.#listeners) wake();
        return false;
      }
      const found = await this.#r.journal.readWithJobs({ afterPosition: head, limit: BATCH });
      this.#keep(await this.#complete(found));
      this.#failing = false;
      return found.length === BATCH;
    } catch (error) {
      if (!this.#failing) this.#r.logger.warn({ err: error }, 'the journal can not be read; trying again');
      this.#failing = true;
      return false;
    }
  }

  #keep(entries: readonly EventEntry[]): void {
    const last = entries.at(-1);
    if (!last) return;
    this.#kept.push(...entries);
    for (const entry of entries) this.#keptBytes += weightOf(entry);
    this.#head = last.event.position;
    let dropped = 0;
    while (this.#kept.length - dropped > KEPT_ENTRIES || this.#keptBytes > KEPT_BYTES) {
      const oldest = this.#kept[dropped];
      if (!oldest) break;
      this.#keptBytes -= weightOf(oldest);
      this.#keptAfter = oldest.event.position;
      dropped += 1;
    }
    if (dropped > 0) this.#kept.splice(0, dropped);
    const concerned = new Set(entries.map(({ event }) => event.jobId));
    for (const { jobId, wake } of this.#listeners) if (jobId === null || concerned.has(jobId)) wake();
  }

  #complete(found: readonly { event: JobEvent; job: Job }[]): Promise<EventEntry[]> {
    const readAt = performance.now();
    const newest = new Map(found.map(({ event }) => [event.jobId, event.seq]));
    return Promise.all(
      found.map(async ({ event, job: row }) => {
        const job = jobAt(row, event);
        const current = job === row && newest.get(event.jobId) === event.seq;
        const left = bringsResult(event) && row.artifactsDeletedAt === null;
        return {
          event,
          job,
          current,
          readAt,
          artifacts: left ? await this.#r.queries.artifacts(job.id) : [],
          wait:
            current && isWaiting(job.status)
              ? await within(this.#r.wait(job), QUEUE_PATIENCE_MS, null)
              : null,
        };
      }),
    );
  }
}

/** About what an entry takes in memory and on the wire, bytes. */
const weightOf = ({ job, artifacts }: EventEntry): number =>
  2_000 +
  (job.command?.length ?? 0) +
  (job.task?.length ?? 0) +
  (job.context?.length ?? 0) +
  artifacts.length * 500;

/** As many of the entries as one listener gets at once. */
function handOver(
  entries: readonly EventEntry[],
  seen: number,
): { entries: readonly EventEntry[]; seen: number } {
  let bytes = 0;
  for (const [index, entry] of entries.entries()) {
    bytes += weightOf(entry);
    const previous = entries[index - 1];
    if (bytes > HANDED_BYTES && previous) {
      return { entries: entries.slice(0, index), seen: previous.event.position };
    }
  }
  return { entries, seen };
}
