import { isTerminal, isWaiting } from '../jobs/states.ts';
import { Bell, pause } from '../timing/bell.ts';
import type { JobAnswer, LogLine } from './answers.ts';
import type { LogStart } from '../logs/log-store.ts';
import type { FlashpodsClient } from './client.ts';
import { ClientError, hasCode } from './client-error.ts';

export interface FollowOptions {
  readonly from: LogStart;
  readonly onLine: (line: LogLine) => void | Promise<void>;
  /** Hears of the job first and then whenever something about it may have changed. */
  readonly onJob?: (job: JobAnswer) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Pauses between two looks at a log, ms. The first while lines flow; then it grows to the second, which still
 * shows a line within 200 ms of its capture at about six requests a second. A job that waits for its place
 * prints little (its image being pulled) and gets the third; when its state changes there is a look at once.
 */
const FLOWING_MS = 50;
const QUIET_MS = 150;
const WAITING_MS = 1_000;

/** Long polls, s. A waiting job's place in the queue moves without a change of state. */
const WAIT_WHILE_WAITING_S = 2;
const WAIT_WHILE_RUNNING_S = 30;

/** As `followJob`, by asking again and again: for a server, or a proxy before it, that sends no stream of events. */
export async function pollJob(
  client: FlashpodsClient,
  id: string,
  options: FollowOptions,
): Promise<JobAnswer> {
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const bell = new Bell(signal);
  let job = await client.getJob(id, { signal });
  options.onJob?.(job);

  async function watchState(): Promise<void> {
    while (!isTerminal(job.status)) {
      const before = job.status;
      const waitSeconds = isWaiting(job.status) ? WAIT_WHILE_WAITING_S : WAIT_WHILE_RUNNING_S;
      job = await client.getJob(id, { waitSeconds, signal }).catch(async (error: unknown) => {
        // Where too many wait already, one asks without waiting.
        if (!hasCode(error, 'too_many_open')) throw error;
        await pause(WAITING_MS, signal);
        return client.getJob(id, { signal });
      });
      options.onJob?.(job);
      if (job.status !== before) bell.ring();
    }
  }

  async function readLog(): Promise<void> {
    let start = options.from;
    let pauseMs = FLOWING_MS;
    for (;;) {
      // Looked at before the read: what is captured before the end is in a read that begins after it.
      const ended = isTerminal(job.status);
      const page = await client.log(id, start, signal).catch((error: unknown) => {
        if (hasCode(error, 'logs_deleted')) return null;
        throw error;
      });
      for (const line of page?.lines ?? []) await options.onLine(line);
      const moved = page !== null && (!('offset' in start) || page.nextOffset > start.offset);
      if (page !== null) start = { offset: page.nextOffset };
      if (moved) {
        pauseMs = FLOWING_MS;
        if (ended || page.totalBytes > page.nextOffset) continue;
      } else {
        if (ended) return;
        pauseMs = Math.min(pauseMs * 1.25, isWaiting(job.status) ? WAITING_MS : QUIET_MS);
      }
      await bell.wait(pauseMs);
      signal.throwIfAborted();
    }
  }

  const parts = [watchState(), readLog()];
  try {
    await Promise.all(parts);
  } catch (error) {
    failed.abort(new ClientError('interrupted', 'The other half of following the job failed.'));
    await Promise.allSettled(parts);
    throw error;
  }
  return job;
}
