import { AssertionError } from 'node:assert';
import { setTimeout as delay } from 'node:timers/promises';
import { FlashpodsError } from '../src/errors.ts';
import { TransitionError } from '../src/jobs/states.ts';
import type { Logger } from '../src/observability/logger.ts';

/**
 * Tries `work` until it succeeds: for steps whose only possible failure is that database, Podman or disk is away for
 * a while, and which must not be given up while a container lives.
 * @throws the signal's reason once it is aborted, and what only a mistake of ours throws: trying again would hide it
 */
export async function persist<T>(
  what: string,
  logger: Logger,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 5_000)) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (isMistake(error)) throw error;
      logger.warn({ err: error }, `${what} failed; trying again in ${waitMs} ms`);
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Errors that stay however often it is tried. */
const isMistake = (error: unknown): boolean =>
  error instanceof TypeError ||
  error instanceof RangeError ||
  error instanceof ReferenceError ||
  error instanceof AssertionError ||
  error instanceof TransitionError;

/** Asks Podman again while it does not answer: it may be starting anew, and no job is given up for that. */
export async function untilAnswered<T>(
  logger: Logger,
  stop: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2_000)) {
    try {
      return await work();
    } catch (error) {
      const silent = error instanceof FlashpodsError && error.code === 'container_error';
      // guard: answer-lost
      if (!silent || stop.aborted) throw error;
      logger.warn({ err: error }, `Podman did not answer; trying again in ${waitMs} ms`);
      await delay(waitMs, undefined, { signal: stop }).catch(() => undefined);
    }
  }
}

/** Like `Promise.all`, but leaves nothing running behind when one of them fails. */
export async function settleAll<A, B>(work: readonly [A, B]): Promise<[Awaited<A>, Awaited<B>]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}
