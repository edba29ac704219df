/** Time that a call may take: clients give up, most of them after 60 s, and then nobody learns what came of it. */
import { ClientError } from '../client/client-error.ts';

/** A call that waits for a job is answered after this time at the latest, unless it asks for more. */
export const DEFAULT_WAIT_SECONDS = 50;
export const MAX_WAIT_SECONDS = 3_600;
/** What a call may take beside its wait. */
const ANSWER_MS = 55_000;
const AFTER_WAIT_MS = 5_000;

/** Aborts with `poll_timeout` after the time; `over` takes the timer away. */
export function deadline(ms: number, signal: AbortSignal): { readonly signal: AbortSignal; over(): void } {
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort(
      new ClientError('poll_timeout', `The server did not answer within ${Math.round(ms / 1_000)} s.`),
    );
  }, ms);
  return { signal: AbortSignal.any([signal, late.signal]), over: () => clearTimeout(timer) };
}

/** Runs `work` with a signal that ends before the usual client's patience. */
export async function inTime<T>(
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
  waitSeconds = 0,
): Promise<T> {
  const limit = deadline(Math.max(ANSWER_MS, waitSeconds * 1_000 + AFTER_WAIT_MS), signal);
  try {
    return await work(limit.signal);
  } finally {
    limit.over();
  }
}
