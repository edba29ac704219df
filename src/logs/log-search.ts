/** Lines of a log that a regular expression finds, with those around them. */
import { FlashpodsError } from '../errors.ts';
import type { FoundRecord, LogRecord, LogRecords, LogSearch, LogStart, SearchQuery } from './log-store.ts';
import { PatternThread } from './pattern-thread.ts';

const PAGE_BYTES = 256 * 1024;
/** After this time an answer tells what it has, and where to go on. */
const ANSWER_MS = 2_000;
/** Of a line of an answer, which is JSON: six for a control character. */
const jsonBytes = (record: LogRecord): number => Buffer.byteLength(JSON.stringify(record)) + 1;

/** What the pattern itself may take of an answer, which many others may be waiting behind. */
const PATTERN_MS = 500;

const thread = new PatternThread();

/**
 * @param read reads the log on
 * @param abandoned then it answers what it has
 * @returns null when there is no log
 * @throws FlashpodsError invalid_request for a pattern that takes too long for the first line that it is to look at
 */
export async function searchLog(
  read: (from: LogStart, maxBytes: number) => Promise<LogRecords | null>,
  { pattern, ignoreCase, context, line, maxBytes }: SearchQuery,
  abandoned?: AbortSignal,
): Promise<LogSearch | null> {
  const found = new Found(context, maxBytes);
  const until = performance.now() + ANSWER_MS;
  let budgetMs = PATTERN_MS;
  let from: LogStart = { line };
  let isFirst = true;
  for (;;) {
    const page = await read(from, PAGE_BYTES);
    if (page === null) return null;
    const { records, nextOffset, totalBytes, printedBytes, truncated } = page;
    const texts = records.map(({ text }) => text);
    const { matched, isSlow, tookMs } = await thread.test({ pattern, ignoreCase, texts, budgetMs });
    budgetMs -= tookMs;
    if (isFirst && isSlow && matched.length === 0) throw tooSlow(records[0]?.seq ?? line);
    isFirst = false;
    let next: number | null = null;
    for (const [i, isMatch] of matched.entries()) {
      const record = records[i];
      if (record) next = found.take(record, isMatch);
      if (next !== null) break;
    }
    // Of what is left the next answer tells, or says which line it is that takes too long.
    next ??= records[matched.length]?.seq ?? null;
    const last = records.at(-1);
    const isEnd = last === undefined || nextOffset >= totalBytes;
    const isLate = budgetMs <= 0 || performance.now() > until || abandoned?.aborted === true;
    if (next === null && !isEnd && isLate) next = last.seq + 1;
    if (next !== null || isEnd)
      return {
        records: found.records,
        matches: found.matches,
        nextLine: next,
        nextOffset,
        totalBytes,
        printedBytes,
        truncated,
      };
    from = { offset: nextOffset };
  }
}

const tooSlow = (line: number): FlashpodsError =>
  new FlashpodsError(
    'invalid_request',
    `The pattern of \`grep\` takes too long on line ${line}: make it simpler, or go on behind that line with ` +
      `\`from_line=${line + 1}\`.`,
    { details: { field: 'grep', line, next_line: line + 1 } },
  );

class Found {
  readonly records: FoundRecord[] = [];
  matches = 0;
  readonly #context: number;
  readonly #maxBytes: number;
  #before: LogRecord[] = [];
  #after = 0;
  #bytes = 0;

  constructor(context: number, maxBytes: number) {
    this.#context = context;
    this.#maxBytes = maxBytes;
  }

  /** @returns the line to go on with when the answer is full, or null */
  take(record: LogRecord, isMatch: boolean): number | null {
    if (!isMatch && this.#after === 0) {
      this.#before.push(record);
      if (this.#before.length > this.#context) this.#before.shift();
      return null;
    }
    const added = isMatch ? [...this.#before, record] : [record];
    const bytes = added.reduce((sum, each) => sum + jsonBytes(each), 0);
    // One line that matches is always told.
    const kept = this.records.length === 0 && this.#bytes + bytes > this.#maxBytes ? [record] : added;
    if (this.records.length > 0 && this.#bytes + bytes > this.#maxBytes) return added[0]?.seq ?? record.seq;
    this.#bytes += bytes;
    for (const each of kept) this.records.push(each === record && isMatch ? { ...each, match: true } : each);
    if (isMatch) this.matches += 1;
    this.#before = [];
    this.#after = isMatch ? this.#context : this.#after - 1;
    return null;
  }
}
