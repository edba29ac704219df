/** What in a stored log looks like the reason of a failure, as it is kept with the job. */
import { setImmediate as turn } from 'node:timers/promises';
import { endsOf, errorLines, errorLinesInTurns, type TextLine } from '../src/jobs/error-lines.ts';
import type { LogRecord, LogStore } from '../src/logs/log-store.ts';
import { withoutEscapes } from '../src/observability/unsafe-text.ts';
import { beginningOf } from '../src/observability/cut-text.ts';

const MAX_LINE = 500;
const MAX_LINES = { failed: 12, fine: 5 };

/**
 * `LINE: text` each, in the order of the log, and how many more there are. All that is kept of the log is searched.
 * @param hasFailed whether the command ended with something else than 0
 */
export async function errorsInLog(
  logs: Pick<LogStore, 'readRecords'>,
  jobId: string,
  hasFailed: boolean,
): Promise<string[]> {
  const max = hasFailed ? MAX_LINES.failed : MAX_LINES.fine;
  const found: TextLine[] = [];
  let more = 0;
  for (let offset = 0; ;) {
    const page = await logs.readRecords(jobId, { offset });
    if (page === null || page.records.length === 0) break;
    const inPage = await errorLinesInTurns(linesOf(page.records), max, hasFailed);
    found.push(...inPage.lines);
    more += inPage.more;
    offset = page.nextOffset;
    await turn(); // other jobs of the host are waiting
  }
  const chosen = errorLines(found, max, hasFailed);
  const lines = chosen.lines.map(({ seq, text }) => `${seq}: ${beginningOf(text, MAX_LINE)}`);
  more += chosen.more;
  return more > 0 ? [...lines, `… and ${more} more like these`] : lines;
}

/** The first piece of each line. Of one that was drawn several times in its place, what was left standing. */
function linesOf(records: readonly LogRecord[]): TextLine[] {
  const open = new Set<string>();
  const lines: TextLine[] = [];
  for (const { seq, stream, text, partial } of records) {
    if (!open.has(stream) && stream !== 'system')
      lines.push({ seq, text: withoutEscapes(endsOf(lastDrawn(text))) });
    if (partial) open.add(stream);
    else open.delete(stream);
  }
  return lines;
}

/** A job chooses the text: no regular expression, which might take time by the square of it. */
function lastDrawn(text: string): string {
  let end = text.length;
  while (text[end - 1] === '\r') end -= 1;
  return text.slice(text.lastIndexOf('\r', end - 1) + 1, end);
}
