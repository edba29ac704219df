/** What a check is, and running many of them so that none can hang the rest. */
import { messageOf } from '../errors.ts';
import { within } from '../timing/within.ts';

/** `warning`: works, but not as well as it could. `skipped`: nothing could be said here and now. */
export type Grade = 'ok' | 'warning' | 'failure' | 'skipped';

export interface Finding {
  readonly grade: Grade;
  /** What was found, one line. */
  readonly message: string;
  /** How to mend it; null where nothing is to be mended. */
  readonly advice: string | null;
}

export interface Check {
  /** Short and unique: the first word of its line. */
  readonly name: string;
  readonly timeoutMs: number;
  /** @throws any error: that is a failure as well */
  run(signal: AbortSignal): Promise<Finding>;
}

export interface Result extends Finding {
  readonly name: string;
}

export const ok = (message: string): Finding => ({ grade: 'ok', message, advice: null });
export const warning = (message: string, advice: string): Finding => ({ grade: 'warning', message, advice });
export const failure = (message: string, advice: string): Finding => ({ grade: 'failure', message, advice });
export const skipped = (message: string, advice: string | null = null): Finding => ({
  grade: 'skipped',
  message,
  advice,
});

/** Runs all at once and yields the results in the order of the checks, each at its deadline at the latest. */
export async function* runChecks(checks: readonly Check[], stop: AbortSignal): AsyncGenerator<Result> {
  const running = checks.map((check) => settle(check, stop));
  for (const result of running) yield await result;
}

async function settle(check: Check, stop: AbortSignal): Promise<Result> {
  const { name, timeoutMs } = check;
  const late = new AbortController();
  const work = check
    .run(AbortSignal.any([late.signal, stop]))
    .catch((error: unknown) => failure(oneLine(messageOf(error)), 'The message is all that is known.'));
  const finding = await within(work, timeoutMs, null, stop);
  if (finding) return { name, ...finding };
  if (stop.aborted) return { name, ...skipped('interrupted') };
  late.abort(new Error('the check took too long'));
  const advice = 'Something it depends on hangs; try again, and check what the message names.';
  return { name, ...failure(`no answer within ${timeoutMs / 1_000} s`, advice) };
}

export const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ').slice(0, 400);
