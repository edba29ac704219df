import { isUtf8 } from 'node:buffer';
import { systemCode } from '../errors.ts';
import { CHARACTER_BYTES, continuationBytes, unfinishedBytes } from './characters.ts';
import {
  breaksLine,
  continuesLine,
  type IndexRecord,
  PARTIAL,
  PREFIX_BYTES,
  readRecord,
  STREAM_NAMES,
  streamOf,
  UNENDED,
} from './log-index.ts';
import { closeParts, gapBetween, type LogGap, type LogPart, logPaths, openParts } from './log-parts.ts';
import {
  type AnswerLimits,
  MAX_ANSWER_BYTES,
  type LogRecord,
  type LogRecords,
  type LogStart,
  type LogTail,
  type LogText,
} from './log-store.ts';

const MAX_ANSWER_RECORDS = 10_000;
const RECORDS_PER_READ = 1024;
/** Of an answer that is a page of 64 KiB, which few lines fill. */
const GROUPS_PER_READ = 128;
const NEWLINE = 10;

/** See `LogStore.readTail`. */
export const readTail = (logsDir: string, jobId: string, tail: number): Promise<LogTail | null> =>
  withLog(logsDir, jobId, async (log) => {
    const { start, cut } = await log.tailStart(tail);
    const output = await log.text(start, log.size);
    return { ...log.answer(log.size), output, lines: countLines(output), cut };
  });

/** See `LogStore.readFrom`. */
export const readFrom = (
  logsDir: string,
  jobId: string,
  from: number | { readonly line: number },
  { maxBytes = MAX_ANSWER_BYTES, maxLines = Infinity }: AnswerLimits = {},
): Promise<LogText | null> =>
  withLog(logsDir, jobId, async (log) => {
    const offset = typeof from === 'number' ? from : await log.offsetOf(from.line);
    // With room for one character at least, every call gets on.
    const room = Math.min(Math.max(CHARACTER_BYTES, maxBytes), MAX_ANSWER_BYTES);
    const { start, end, marker, isWhole } = await log.stretch(Math.min(Math.max(0, offset), log.size), room);
    const bytes = await log.text(start, end);
    let length = isWhole ? bytes.length : bytes.lastIndexOf(NEWLINE) + 1;
    if (length === 0 && bytes.length === room) length = bytes.length - unfinishedBytes(bytes);
    length = Math.min(length, lengthOfLines(bytes, maxLines - (marker.length > 0 ? 1 : 0)));
    const output = Buffer.concat([marker, bytes.subarray(0, length)]);
    return { ...log.answer(start + length), output, lines: countLines(output) };
  });

/**
 * The same log as records; as many as one answer holds, and at least one. See `LogStore.readRecords`.
 * @returns null when there is no log
 */
export const readRecords = (
  logsDir: string,
  jobId: string,
  from: LogStart,
  { maxBytes = MAX_ANSWER_BYTES, maxLines = MAX_ANSWER_RECORDS }: AnswerLimits = {},
): Promise<LogRecords | null> =>
  withLog(logsDir, jobId, async (log) => {
    const start =
      'tail' in from
        ? (await log.tailStart(from.tail)).start
        : 'line' in from
          ? await log.offsetOf(from.line)
          : Math.max(0, from.offset);
    return await log.recordsFrom(start, maxBytes, Math.min(maxLines, MAX_ANSWER_RECORDS));
  });

class OpenLog {
  readonly size: number;
  readonly #parts: readonly LogPart[];
  readonly #gap: LogGap | null;
  readonly #last: IndexRecord;

  constructor(parts: readonly LogPart[]) {
    const [first, second] = parts;
    const last = parts.at(-1)?.last;
    if (first === undefined || last === undefined) throw new Error('a log has no part');
    this.#parts = parts;
    this.#gap = second === undefined ? null : gapBetween(first, second);
    this.#last = last;
    this.size = last.logEnd;
  }

  answer(nextOffset: number): Omit<LogRecords, 'records'> {
    const { logEnd, printed } = this.#last;
    return { nextOffset, totalBytes: logEnd, printedBytes: printed, truncated: this.#gap !== null };
  }

  /**
   * What one answer from `offset` on covers: the line that stands for what is left out, if it begins there, and a part
   * of the log of at most `room` bytes. `isWhole`: the part ends where the gap begins.
   */
  async stretch(
    offset: number,
    room: number,
  ): Promise<{ start: number; end: number; marker: Buffer; isWhole: boolean }> {
    const gap = this.#gap;
    const isInGap = gap !== null && offset >= gap.from && offset < gap.to;
    const start = isInGap ? gap.to : offset + (await this.#unfinishedAt(offset));
    const limit = gap !== null && start < gap.from ? gap.from : this.size;
    const end = Math.min(start + room, limit);
    const marker = isInGap ? markerOf(gap, offset === gap.from) : EMPTY;
    return { start, end, marker, isWhole: gap !== null && end === gap.from };
  }

  /** Bytes of the log, with the line that stands for what is left out between them. */
  async text(start: number, end: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (const [i, part] of this.#parts.entries()) {
      const gap = i === 1 ? this.#gap : null;
      if (gap !== null && start < gap.to && end > gap.from) chunks.push(markerOf(gap, start < gap.from));
      const [from, to] = [Math.max(start, part.begin), Math.min(end, part.end)];
      if (to > from) chunks.push(await part.bytes(from, to - from));
    }
    return chunks.length === 1 ? (chunks[0] ?? EMPTY) : Buffer.concat(chunks);
  }

  /** Where the last `tail` lines begin, as far as one answer holds them. */
  async tailStart(tail: number): Promise<{ start: number; cut: boolean }> {
    let start = this.size;
    let lines = 0;
    /** Bytes of an answer from an offset on. */
    const span = (offset: number): number =>
      this.size -
      offset -
      (this.#gap !== null && offset <= this.#gap.from
        ? this.#gap.to - this.#gap.from - this.#gap.line.length
        : 0);
    for (let i = this.#parts.length - 1; i >= 0; i--) {
      const part = this.#parts[i];
      if (part === undefined) break;
      for (let end = part.records; end > 0 && lines < tail; end -= RECORDS_PER_READ) {
        const first = Math.max(0, end - RECORDS_PER_READ);
        const groups = await groupsOf(part, first, end - first);
        for (const group of groups.toReversed()) {
          if (lines >= tail) break;
          const starts = group.lineStarts === 'one' ? [group.begin] : await lineStartsOf(part, group);
          for (const begin of starts.toReversed()) {
            if (lines >= tail) break;
            if (span(begin) > MAX_ANSWER_BYTES) {
              if (lines > 0) return { start, cut: true };
              const middle = this.size - MAX_ANSWER_BYTES;
              return { start: middle + (await this.#unfinishedAt(middle)), cut: true };
            }
            if (group.continues) continue;
            lines++;
            start = begin;
          }
        }
      }
      if (i === 1 && this.#gap !== null && lines < tail) {
        lines++;
        start = this.#gap.from;
      }
      if (lines >= tail) break;
    }
    return { start, cut: false };
  }

  /** Where the line with this number begins; the end of the log when there is none (yet). */
  async offsetOf(line: number): Promise<number> {
    for (const [i, part] of this.#parts.entries()) {
      if (i === 1 && this.#gap !== null && line <= this.#gap.piece) return this.#gap.from;
      if (line > part.last.pieces) continue;
      const record = await part.recordOfPiece(line);
      const [group] = await groupsOf(part, record, 1);
      if (group === undefined) break;
      if (group.lineStarts === 'one') return group.begin;
      return (await lineStartsOf(part, group))[line - group.piece] ?? group.begin;
    }
    return this.size;
  }

  async recordsFrom(offset: number, maxBytes: number, maxRecords: number): Promise<LogRecords> {
    const records: LogRecord[] = [];
    const gap = this.#gap;
    let at = Math.min(offset, this.size);
    let bytes = 0;
    for (const [i, part] of this.#parts.entries()) {
      if (i === 1 && gap !== null && at >= gap.from && at < gap.to) {
        records.push(recordOf(gap));
        at = gap.to;
      }
      for (let first = await part.recordAt(at); first < part.records; first += GROUPS_PER_READ) {
        const groups = await groupsOf(part, first, Math.min(GROUPS_PER_READ, part.records - first));
        // One read for all that the answer has room for, and at least one record.
        const base = groups[0]?.begin ?? at;
        const fits = groups.filter(
          (group, index) => index === 0 || bytes + group.end - base <= maxBytes + GROUP_SLACK,
        );
        const read = await part.bytes(base, (fits.at(-1)?.end ?? base) - base);
        for (const group of fits) {
          for (const { record, end } of piecesOf(
            read.subarray(group.begin - base, group.end - base),
            group,
          )) {
            if (end <= at) continue;
            const size = end - Math.max(at, group.begin);
            // One record is always answered; it is hardly larger than a chunk of the spool.
            const isFull = bytes + size > maxBytes || records.length >= maxRecords;
            if (isFull && records.length > 0) return { ...this.answer(at), records };
            records.push(record);
            bytes += size;
            at = end;
          }
        }
        if (fits.length < groups.length) return { ...this.answer(at), records };
      }
    }
    return { ...this.answer(at), records };
  }

  /** How many bytes from `offset` on belong to a character that began before it. */
  async #unfinishedAt(offset: number): Promise<number> {
    const part = this.#parts.find(({ begin, end }) => offset > begin && offset < end);
    if (part === undefined) return 0;
    const from = Math.max(part.begin, offset - CHARACTER_BYTES + 1);
    const around = await part.bytes(from, Math.min(part.end, offset + CHARACTER_BYTES - 1) - from);
    const before = around.subarray(0, offset - from);
    const after = around.subarray(offset - from);
    const begun = unfinishedBytes(before);
    if (begun === 0) return 0;
    const more = continuationBytes(after);
    for (let count = 1; count <= more; count++)
      if (isUtf8(around.subarray(before.length - begun, before.length + count))) return count;
    return 0;
  }
}

/** A group may lie across the end of an answer: its first lines are told. */
const GROUP_SLACK = 64 * 1024;
const EMPTY = Buffer.alloc(0);

/** The newline that ends a line which was cut only where that line is shown. */
const markerOf = ({ line }: LogGap, isAfterLine: boolean): Buffer =>
  isAfterLine || line[0] !== NEWLINE ? line : line.subarray(1);

const recordOf = ({ piece, timeMs, text }: LogGap): LogRecord => ({
  seq: piece,
  time: new Date(timeMs).toISOString(),
  stream: 'system',
  text,
});

/** What one record of an index covers. */
interface Group {
  /** Without the newline that breaks the line of another stream. */
  readonly begin: number;
  readonly end: number;
  readonly record: IndexRecord;
  /** Number of its first piece. */
  readonly piece: number;
  readonly continues: boolean;
  readonly lineStarts: 'one' | 'several';
}

async function groupsOf(part: LogPart, first: number, count: number): Promise<Group[]> {
  const view = await part.view(first, count);
  let previous = await part.record(first - 1);
  const groups: Group[] = [];
  for (let i = 0; i < count; i++) {
    const record = readRecord(view, i);
    const breaks = breaksLine(record.flags, previous.flags);
    groups.push({
      begin: previous.logEnd + (breaks ? 1 : 0),
      end: record.logEnd,
      record,
      piece: previous.pieces + 1,
      continues: continuesLine(record.flags, previous.flags),
      lineStarts: record.pieces - previous.pieces > 1 ? 'several' : 'one',
    });
    previous = record;
  }
  return groups;
}

async function lineStartsOf(part: LogPart, { begin, end }: Group): Promise<number[]> {
  const bytes = await part.bytes(begin, end - begin);
  const starts = [begin];
  for (let at = bytes.indexOf(NEWLINE); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(NEWLINE, at + 1))
    starts.push(begin + at + 1);
  return starts;
}

/** The pieces of a group, each with where it ends. */
function* piecesOf(
  bytes: Buffer,
  { begin, piece, continues, lineStarts, record }: Group,
): Generator<{ readonly record: LogRecord; readonly end: number }> {
  const { flags, timeMs } = record;
  const partial = (flags & PARTIAL) !== 0;
  const stream = STREAM_NAMES[streamOf(flags)];
  const time = new Date(timeMs).toISOString();
  let seq = piece;
  for (let start = 0; start < bytes.length || seq === piece; seq++) {
    const newline = lineStarts === 'one' ? -1 : bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? bytes.length : newline + 1;
    const text = bytes.subarray(start + (continues ? 0 : PREFIX_BYTES), partial ? end : end - 1);
    yield {
      record: {
        seq,
        time,
        stream,
        text: text.toString('utf8'),
        ...(isUtf8(text) ? {} : { bytes: text.toString('base64') }),
        ...(partial ? { partial } : {}),
        ...((flags & UNENDED) !== 0 ? { unended: true } : {}),
      },
      end: begin + end,
    };
    start = end;
  }
}

const withLog = async <T>(
  logsDir: string,
  jobId: string,
  read: (log: OpenLog) => Promise<T>,
): Promise<T | null> => {
  let parts: readonly LogPart[] | null = null;
  try {
    parts = await openParts(logPaths(logsDir, jobId));
    return parts === null ? null : await read(new OpenLog(parts));
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    throw new Error(`the log of job ${jobId} could not be read (${code})`, { cause: error });
  } finally {
    await closeParts(parts ?? []);
  }
};

/** Bytes of the first `lines` lines. */
function lengthOfLines(bytes: Buffer, lines: number): number {
  if (lines === Infinity) return bytes.length;
  let at = 0;
  for (let line = 0; line < lines; line++) {
    const newline = bytes.indexOf(NEWLINE, at);
    if (newline < 0) return bytes.length;
    at = newline + 1;
  }
  return at;
}

const countLines = (output: Buffer): number => {
  let lines = 0;
  for (let at = output.indexOf(NEWLINE); at >= 0; at = output.indexOf(NEWLINE, at + 1)) lines++;
  return output.length > 0 && output[output.length - 1] !== NEWLINE ? lines + 1 : lines;
};
