import { AssertionError } from 'node:assert';
import { FlashpodsError } from '../src/errors.ts';
import { TransitionError } from '../src/jobs/states.ts';
import type { Logger } from '../src/observability/logger.ts';
import { retry } from '../src/timing/backoff.ts';

/**
 * Tries `work` until it succeeds: for steps whose only possible failure is that database, Podman or disk is away for
 * a while, and which must not be given up while a container lives.
 * @throws the signal's reason once it is aborted, and what only a mistake of ours throws: trying again would hide it
 */
export const persist = <T>(
  what: string,
  logger: Logger,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> =>
  retry(work, {
    firstMs: 100,
    longestMs: 5_000,
    signal,
    again: (error) => signal.aborted || !isMistake(error),
    onFailure: (error, ms) => logger.warn({ err: error }, `${what} failed; trying again in ${ms} ms`),
  });

/** Errors that stay however often it is tried. */
const isMistake = (error: unknown): boolean =>
  error instanceof TypeError ||
  error instanceof RangeError ||
  error instanceof ReferenceError ||
  error instanceof AssertionError ||
  error instanceof TransitionError;

/** Asks Podman again while it does not answer: it may be starting anew, and no job is given up for that. */
export const untilAnswered = <T>(logger: Logger, stop: AbortSignal, work: () => Promise<T>): Promise<T> =>
  retry(work, {
    firstMs: 100,
    longestMs: 2_000,
    signal: stop,
    // guard: answer-lost
    again: (error) => error instanceof FlashpodsError && error.code === 'container_error',
    onFailure: (error, ms) => logger.warn({ err: error }, `Podman did not answer; trying again in ${ms} ms`),
  });

/** Like `Promise.all`, but leaves nothing running behind when one of them fails. */
export async function settleAll<A, B>(work: readonly [A, B]): Promise<[Awaited<A>, Awaited<B>]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}
