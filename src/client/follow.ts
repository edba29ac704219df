import { isTerminal, isWaiting } from '../jobs/states.ts';
import { pauseAfter } from '../timing/backoff.ts';
import { pause } from '../timing/bell.ts';
import type { JobAnswer, LogLine } from './answers.ts';
import type { LogStart } from '../logs/log-store.ts';
import type { FlashpodsClient } from './client.ts';
import { ClientError, hasCode } from './client-error.ts';
import type { ServerEvent } from './events.ts';
import { type FollowOptions, pollJob } from './poll.ts';
import { failureKind } from './retry.ts';

export type { FollowOptions } from './poll.ts';

/** A job's place in the queue moves without an event: while it waits it is asked for at this interval. */
const PLACE_EVERY_S = 2;
/** A server that is away (it is restarted, say) is waited for this long after it was last heard. */
const PATIENCE_MS = 60_000;
/** A stream that ends before its time is opened again after this pause, which doubles as long as nothing comes. */
const BACKOFF = { firstMs: 100, longestMs: 5_000 };

/**
 * Follows state and log of a job to its end, over the stream of its events. One that breaks is taken up where it broke:
 * no line is lost and none comes twice, also when the server was restarted meanwhile. Without such a stream the job is
 * polled.
 * @returns the job, terminal, after its last line was handed over
 * @throws ClientError when the server refuses, or is away for longer than a minute
 */
export async function followJob(
  client: FlashpodsClient,
  id: string,
  options: FollowOptions,
): Promise<JobAnswer> {
  const follower = new Follower(client, id, options);
  const ended = new AbortController();
  const failed = new AbortController();
  const within = (controller: AbortController): AbortSignal =>
    options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal;
  const place = follower.tellPlace(within(ended)).catch((error: unknown) => {
    if (ended.signal.aborted) return;
    failed.abort(error);
  });
  try {
    const job = await follower.run(within(failed));
    return job ?? (await pollJob(client, id, { ...options, from: follower.position }));
  } finally {
    ended.abort(new ClientError('interrupted', 'The job is followed no longer.'));
    await place;
  }
}

class Follower {
  readonly #client: FlashpodsClient;
  readonly #id: string;
  readonly #options: FollowOptions;
  #job: JobAnswer | null = null;
  #offset: number | null = null;
  #lastEventId: string | null = null;

  constructor(client: FlashpodsClient, id: string, options: FollowOptions) {
    this.#client = client;
    this.#id = id;
    this.#options = options;
  }

  /** Where the rest of the log begins. */
  get position(): LogStart {
    return this.#offset === null ? this.#options.from : { offset: this.#offset };
  }

  /** @returns the job at its end, or null when there is no stream to be had */
  async run(signal: AbortSignal): Promise<JobAnswer | null> {
    await this.#begin(signal);
    let heardAt = performance.now();
    let failures = 0;
    for (;;) {
      try {
        for await (const event of this.#client.events(this.#id, this.#lastEventId, signal)) {
          heardAt = performance.now();
          failures = 0;
          await this.#take(event);
        }
        heardAt = performance.now();
        // It ends when all was told; a server that stops ends it before.
        const job: JobAnswer = this.#job ?? (await this.#client.getJob(this.#id, { signal }));
        if (isTerminal(job.status)) return job;
      } catch (error) {
        signal.throwIfAborted();
        // One that gets no stream because too many are open asks from time to time instead.
        const none = ['unexpected_answer', 'not_found', 'events_expired', 'invalid_request', 'too_many_open'];
        if (hasCode(error, ...none)) return null;
        if (failureKind(error) === null || performance.now() - heardAt > PATIENCE_MS) throw error;
      }
      failures += 1;
      await pause(pauseAfter(failures, BACKOFF), signal);
      signal.throwIfAborted();
    }
  }

  /** While the job waits, tells its place in the queue and why it waits. */
  async tellPlace(signal: AbortSignal): Promise<void> {
    const { onJob } = this.#options;
    if (!onJob) return;
    while (!signal.aborted && (this.#job === null || isWaiting(this.#job.status))) {
      // Nothing to ask about before the first event.
      if (this.#job) {
        const options = { waitSeconds: PLACE_EVERY_S, signal };
        const job = await this.#client.getJob(this.#id, options).catch((error: unknown) => {
          // Whether a server that is away comes back is the stream's to find out.
          if (failureKind(error) === null) throw error;
          return null;
        });
        if (job && isWaiting(job.status) && isWaiting(this.#job.status)) onJob(job);
      }
      await pause(this.#job ? 0 : 50, signal);
    }
  }

  /** Hands over the last lines when only those are wanted, and finds the event after them. */
  async #begin(signal: AbortSignal): Promise<void> {
    const { from, onLine } = this.#options;
    if ('offset' in from) {
      if (from.offset > 0) this.#goOnAt(from.offset);
      return;
    }
    const page = await this.#client.log(this.#id, from, signal).catch((error: unknown) => {
      if (hasCode(error, 'logs_deleted')) return null;
      throw error;
    });
    if (!page) return;
    for (const line of page.lines) await onLine(line);
    this.#goOnAt(page.nextOffset);
  }

  /** All states of the job, and its log from this byte on. */
  #goOnAt(offset: number): void {
    this.#offset = offset;
    this.#lastEventId = `0.${offset}`;
  }

  async #take({ id, type, data }: ServerEvent): Promise<void> {
    if (type === 'log') {
      const { lines, next_offset: next } = data as unknown as LogEvent;
      for (const line of lines) await this.#options.onLine(line);
      this.#offset = next;
    } else if (type === 'state') {
      this.#job = data as unknown as JobAnswer;
      this.#options.onJob?.(this.#job);
    }
    this.#lastEventId = id;
  }
}

interface LogEvent {
  readonly lines: readonly LogLine[];
  readonly next_offset: number;
}
