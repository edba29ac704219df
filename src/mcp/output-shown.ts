/** What a call that waits shows of a log beside its end: `head`, `tail` or `grep`, with the whole of it kept. */
import { z } from 'zod';
import { hasCode } from '../client/client-error.ts';
import { FlashpodsError } from '../errors.ts';
import type { Backend } from './backend.ts';
import type { JobReport } from './job-report.ts';
import { logShown } from './log-shown.ts';

const MAX_LINES = 10_000;
const MAX_BYTES = 12_000;

export interface Shown {
  readonly tail?: number | undefined;
  readonly head?: number | undefined;
  readonly grep?: string | undefined;
}

const line = z.int().min(1).max(MAX_LINES).optional();

/** Arguments of the tools that wait. @param explained whether a model is told what they are for */
export const shownArguments = (explained: boolean) => {
  const told = <T extends z.ZodType>(schema: T, text: string): T =>
    explained ? schema.describe(text) : schema;
  return {
    tail: told(line, 'last lines of the log to show; instead of a pipe into tail: all of it is kept'),
    head: told(line, 'first lines to show'),
    grep: told(z.string().min(1).max(1_000).optional(), 'or the lines that this regular expression finds'),
  };
};

/** @throws FlashpodsError invalid_request when more than one is asked for */
export function shownOf({ tail, head, grep }: Shown): Shown | null {
  const given = [tail, head, grep].filter((each) => each !== undefined);
  if (given.length === 0) return null;
  if (given.length > 1)
    throw new FlashpodsError(
      'invalid_request',
      'Only one of `tail`, `head` and `grep` goes together with a wait.',
    );
  return { tail, head, grep };
}

/** The report with what was asked for in place of the last lines. */
export async function withShown(
  backend: Backend,
  report: JobReport,
  shown: Shown | null,
  signal: AbortSignal,
): Promise<JobReport> {
  if (shown === null || report.job_id === undefined || report.output === undefined) return report;
  try {
    const { text, summary, lines, next } = await logShown(
      backend,
      { job_id: report.job_id, ...shown, max_bytes: MAX_BYTES },
      signal,
    );
    const goesOn = next.startsWith('get_job_output ') ? next : null;
    return {
      ...report,
      output: text,
      output_lines: lines,
      output_shows: summary,
      ...(goesOn === null ? {} : { next: [report.next, goesOn].filter(Boolean).join(' ') }),
    };
  } catch (error) {
    if (hasCode(error, 'logs_deleted', 'logs_not_available')) return report;
    throw error;
  }
}
