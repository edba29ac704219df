/**
 * The parts of a job's log. `<job>.log` holds all of a log that is not too long, and of one that is its beginning. What
 * comes then goes to two files in turn, `<job>.log.0` and `.1`, of which the older is begun anew when the younger is
 * full: so the end is always there. When the log is finished its end is appended to `<job>.log`, after a line that says
 * how much is left out between them.
 *
 * The index of a part (`<job>.index`, `.index.0`, `.index.1`, `.index.end`) begins with a header, but for that of the beginning:
 *
 * | bytes   | meaning                                                                                  |
 * |---------|------------------------------------------------------------------------------------------|
 * | 0–63    | the last record before the part, see log-index                                           |
 * | 64–71   | the log's limit, bytes; 0 where what is left out before the part was never read          |
 * | 72–79   | of `.index.end`: where in `<job>.log` its first byte is                                    |
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { readFully } from '../files/read-fully.ts';
import {
  type IndexRecord,
  logEndAt,
  NO_RECORD,
  PARTIAL,
  piecesAt,
  readRecord,
  readU64,
  RECORD_BYTES,
  viewOf,
  writeRecord,
  writeU64,
} from './log-index.ts';
import { prefixOf } from './log-batch.ts';
import { renewIndex } from './old-index.ts';

export const HEADER_BYTES = 2 * RECORD_BYTES;
/** Readers look again when files are exchanged under them. */
const TRIES = 100;

export interface PartPaths {
  readonly log: string;
  readonly index: string;
}

export interface LogPaths extends PartPaths {
  /** What comes after the beginning, in turn. */
  readonly turns: readonly [PartPaths, PartPaths];
  /** Index of the end of a log that is finished, which lies in `log`. */
  readonly end: string;
  /** Index as an earlier version wrote it, see old-index. */
  readonly old: string;
}

/** @throws plain Error for an id that is not a single harmless path segment. */
export const logPaths = (logsDir: string, jobId: string): LogPaths => {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(jobId))
    throw new Error(`not a job id: ${JSON.stringify(jobId)}`);
  const at = (suffix: string): string => join(logsDir, `${jobId}.${suffix}`);
  return {
    log: at('log'),
    index: at('index'),
    turns: [
      { log: at('log.0'), index: at('index.0') },
      { log: at('log.1'), index: at('index.1') },
    ],
    end: at('index.end'),
    old: at('idx'),
  };
};

/** Job of a file of a log, by the file's name; undefined for other files. */
export const jobOfLogFile = (name: string): string | undefined =>
  /^([A-Za-z0-9][\w-]*)\.(?:log|index|idx)(?:\.[01]|\.end|\.[0-9a-f]{16})?(?:\.new)?$/.exec(name)?.[1];

export const allPaths = ({ log, index, turns, end, old }: LogPaths): string[] => [
  ...turns.flatMap((turn) => [turn.index, turn.log]),
  index,
  log,
  end,
  `${end}.new`,
  old,
];

export interface PartHeader {
  readonly base: IndexRecord;
  readonly maxBytes: number;
  /** Where in its file the part's first byte is. */
  readonly start: number;
}

const FIRST: PartHeader = { base: NO_RECORD, maxBytes: 0, start: 0 };

export function headerBytes({ base, maxBytes, start }: PartHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  const view = viewOf(bytes);
  writeRecord(view, 0, base);
  writeU64(view, RECORD_BYTES, maxBytes);
  writeU64(view, RECORD_BYTES + 8, start);
  return bytes;
}

async function readHeader(index: FileHandle): Promise<PartHeader | null> {
  const bytes = Buffer.alloc(HEADER_BYTES);
  if ((await index.stat()).size < HEADER_BYTES) return null;
  await readFully(index, bytes, 0);
  const view = viewOf(bytes);
  return {
    base: readRecord(view, 0),
    maxBytes: readU64(view, RECORD_BYTES),
    start: readU64(view, RECORD_BYTES + 8),
  };
}

/** A part whose two files are open. */
export class LogPart {
  readonly log: FileHandle;
  readonly index: FileHandle;
  readonly header: PartHeader;
  readonly #isFirst: boolean;
  /** Records that the log backs. */
  records = 0;
  /** The last of them, or what stands before the part. */
  last: IndexRecord;

  private constructor(log: FileHandle, index: FileHandle, header: PartHeader, isFirst: boolean) {
    this.log = log;
    this.index = index;
    this.header = header;
    this.last = header.base;
    this.#isFirst = isFirst;
  }

  /** The beginning of a log. */
  static async first(log: FileHandle, index: FileHandle): Promise<LogPart> {
    const part = new LogPart(log, index, FIRST, true);
    await part.#look();
    return part;
  }

  /** @returns null for one that was never begun */
  static async later(log: FileHandle, index: FileHandle): Promise<LogPart | null> {
    const header = await readHeader(index);
    if (header === null) return null;
    const part = new LogPart(log, index, header, false);
    await part.#look();
    return part;
  }

  /** Where in the log it begins. */
  get begin(): number {
    return this.header.base.logEnd;
  }

  get end(): number {
    return this.last.logEnd;
  }

  /** Where in its file that of the log is. */
  placeOf(offset: number): number {
    return offset - this.begin + this.header.start;
  }

  recordPlace(record: number): number {
    return (this.#isFirst ? 0 : HEADER_BYTES) + record * RECORD_BYTES;
  }

  async view(first: number, count: number): Promise<DataView> {
    const buffer = Buffer.alloc(count * RECORD_BYTES);
    await readFully(this.index, buffer, this.recordPlace(first));
    return viewOf(buffer);
  }

  async record(position: number): Promise<IndexRecord> {
    return position < 0 ? this.header.base : readRecord(await this.view(position, 1), 0);
  }

  async bytes(offset: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, await readFully(this.log, bytes, this.placeOf(offset)));
  }

  /** The first record that ends behind `offset`; `records` when none does. */
  recordAt(offset: number): Promise<number> {
    return this.#firstWith((view) => logEndAt(view, 0) > offset);
  }

  /** The record with the piece of that number; `records` when it comes later. */
  recordOfPiece(piece: number): Promise<number> {
    return this.#firstWith((view) => piecesAt(view, 0) >= piece);
  }

  async close(): Promise<void> {
    await this.log.close();
    await this.index.close();
  }

  async #firstWith(isIt: (record: DataView) => boolean): Promise<number> {
    let low = 0;
    let high = this.records;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (isIt(await this.view(middle, 1))) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Records are in ascending order of `logEnd`, so a torn end of either file is found by halving. */
  async #look(): Promise<void> {
    const [logSize, indexSize] = [(await this.log.stat()).size, (await this.index.stat()).size];
    this.records = Math.max(0, Math.floor((indexSize - this.recordPlace(0)) / RECORD_BYTES));
    // The last record is the answer nearly always.
    if (this.records > 0) {
      const last = await this.record(this.records - 1);
      if (this.placeOf(last.logEnd) > logSize) this.records = await this.recordAt(logSize - this.placeOf(0));
    }
    this.last = await this.record(this.records - 1);
  }
}

/** Where the log's middle is left out: what stands there instead. */
export interface LogGap {
  readonly from: number;
  readonly to: number;
  /** Number of the last piece that is left out. */
  readonly piece: number;
  readonly timeMs: number;
  readonly text: string;
  /** The line as it is in the log's text, after the newline that ends a line which was cut. */
  readonly line: Buffer;
}

/** The beginning of the line that stands for what is left out. @param maxBytes the log's limit; 0: it is not the reason */
export const truncationText = (maxBytes: number): string =>
  maxBytes === 0
    ? '[TRUNCATED - the host could not keep all until it was read]'
    : `[TRUNCATED - log exceeded ${Number((maxBytes / (1024 * 1024)).toFixed(2))} MB limit]`;

/** @returns null where nothing is left out between the two */
export function gapBetween(before: LogPart, after: LogPart): LogGap | null {
  const { last } = before;
  const { base, maxBytes } = after.header;
  if (base.logEnd <= last.logEnd) return null;
  const [lines, bytes] = [base.lines - last.lines, base.printed - last.printed];
  const text = `${truncationText(maxBytes)} ${lines} ${lines === 1 ? 'line' : 'lines'}, ${bytes} bytes left out here`;
  const isCut = (last.flags & PARTIAL) !== 0;
  const line = Buffer.concat([
    Buffer.from(isCut ? '\n' : ''),
    prefixOf(base.timeMs),
    Buffer.from(`${text}\n`),
  ]);
  return { from: last.logEnd, to: base.logEnd, piece: base.pieces, timeMs: base.timeMs, text, line };
}

/**
 * Opens what there is of a log to read, in its order. Close them.
 * @returns null when there is no log
 * @throws what the file system has against it
 */
export async function openParts(paths: LogPaths): Promise<readonly LogPart[] | null> {
  for (let tries = 1; ; tries++) {
    const parts: LogPart[] = [];
    try {
      const isWhole = await openAll(paths, parts, tries === TRIES);
      if (isWhole) return parts;
    } catch (error) {
      await closeParts(parts);
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    }
    await closeParts(parts);
    if (tries === TRIES) throw new Error('the log is changed faster than it can be read');
  }
}

export const closeParts = async (parts: readonly LogPart[]): Promise<void> => {
  for (const part of parts) await part.close();
};

/** @returns false when it has changed meanwhile */
async function openAll(paths: LogPaths, parts: LogPart[], isLastTry: boolean): Promise<boolean> {
  // First the end: once it is there, nothing changes any more.
  const end = await openPart({ log: paths.log, index: paths.end }, 'later');
  if (end) {
    parts.push(end);
    const first = await openPart(paths, 'first');
    if (first === null) return false;
    parts.unshift(first);
    return true;
  }
  const later: { readonly part: LogPart; readonly index: string }[] = [];
  for (const turn of paths.turns) {
    const part = await openPart(turn, 'later');
    if (part === null) continue;
    parts.push(part);
    later.push({ part, index: turn.index });
  }
  const first =
    (await openPart(paths, 'first')) ?? ((await renewIndex(paths)) ? await openPart(paths, 'first') : null);
  if (first === null) throw Object.assign(new Error('there is no log'), { code: 'ENOENT' });
  parts.push(first);
  for (const { part, index } of later) if (!(await isStill(part.index, index))) return false;
  if (await stat(paths.end).catch(ifMissing(null))) return false;
  later.sort((a, b) => a.part.begin - b.part.begin);
  const [older, younger] = later;
  const isJoined = younger === undefined || younger.part.begin === older?.part.end;
  // A writer that was ended while it left out what lies between the two has not taken the older away.
  if (!isJoined && isLastTry) later.shift();
  parts.splice(0, parts.length, first, ...later.map(({ part }) => part));
  if (isJoined) return true;
  if (isLastTry) await older?.part.close();
  return isLastTry;
}

async function isStill(file: FileHandle, path: string): Promise<boolean> {
  const there = await stat(path).catch(ifMissing(null));
  return there !== null && there.ino === (await file.stat()).ino;
}

async function openPart(
  { log: logPath, index: indexPath }: PartPaths,
  kind: 'first' | 'later',
): Promise<LogPart | null> {
  const index = await open(indexPath, 'r').catch(ifMissing(null));
  if (index === null) return null;
  let log: FileHandle | null = null;
  let part: LogPart | null = null;
  try {
    log = await open(logPath, 'r').catch(ifMissing(null));
    if (log !== null)
      part = kind === 'first' ? await LogPart.first(log, index) : await LogPart.later(log, index);
    return part;
  } finally {
    if (part === null) {
      await log?.close();
      await index.close();
    }
  }
}
