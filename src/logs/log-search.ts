/** Lines of a log that a regular expression finds, with those around them. */
import { createContext, Script } from 'node:vm';
import { setImmediate as turn } from 'node:timers/promises';
import { FlashpodsError } from '../errors.ts';
import type { FoundRecord, LogRecord, LogRecords, LogSearch, LogStart, SearchQuery } from './log-store.ts';

/** A pattern is a stranger's: one that takes longer for a page of the log would stop everybody else. */
const PAGE_MS = 250;
const PAGE_BYTES = 256 * 1024;
/** After this time an answer tells what it has, and where to go on. */
const ANSWER_MS = 2_000;
/** Beside its text, in an answer. */
const RECORD_BYTES = 24;

const TEST = new Script('texts.map((text) => regex.test(text))');

/**
 * @param read reads the log on
 * @returns null when there is no log
 * @throws FlashpodsError invalid_request for a pattern that takes too long
 */
export async function searchLog(
  read: (from: LogStart, maxBytes: number) => Promise<LogRecords | null>,
  { pattern, ignoreCase, context, line, maxBytes }: SearchQuery,
): Promise<LogSearch | null> {
  const regex = new RegExp(pattern, ignoreCase ? 'i' : '');
  const found = new Found(context, maxBytes);
  const until = performance.now() + ANSWER_MS;
  let from: LogStart = { line };
  for (;;) {
    const page = await read(from, PAGE_BYTES);
    if (page === null) return null;
    const { records, nextOffset, totalBytes, printedBytes, truncated } = page;
    const matched = matches(regex, records);
    let next: number | null = null;
    for (const [i, record] of records.entries()) {
      next = found.take(record, matched[i] === true);
      if (next !== null) break;
    }
    const last = records.at(-1);
    const isEnd = last === undefined || nextOffset >= totalBytes;
    if (next === null && !isEnd && performance.now() > until) next = last.seq + 1;
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
    await turn();
  }
}

function matches(regex: RegExp, records: readonly LogRecord[]): boolean[] {
  const texts = records.map(({ text }) => text);
  try {
    return TEST.runInContext(createContext({ regex, texts }), { timeout: PAGE_MS }) as boolean[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new FlashpodsError(
      'invalid_request',
      'The pattern of `grep` takes too long on this log: make it simpler.',
      {
        details: { field: 'grep' },
      },
    );
  }
}

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
    const bytes = added.reduce((sum, { text }) => sum + Buffer.byteLength(text) + RECORD_BYTES, 0);
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
