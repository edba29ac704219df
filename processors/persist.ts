import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../src/observability/logger.ts';

/**
 * Tries `work` until it succeeds: for steps whose only possible failure is that database, Podman or disk is away for
 * a while, and which must not be given up while a container lives.
 * @throws the signal's reason once it is aborted; nothing else
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
      logger.warn({ err: error }, `${what} failed; trying again in ${waitMs} ms`);
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }
}
