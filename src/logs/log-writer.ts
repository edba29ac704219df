import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ifMissing } from '../files/if-missing.ts';
import { readFully, writeFully } from '../files/read-fully.ts';
import { type IndexRecord, PARTIAL, RECORD_BYTES } from './log-index.ts';
import {
  gapBetween,
  HEADER_BYTES,
  headerBytes,
  LogPart,
  type LogPaths,
  type PartPaths,
} from './log-parts.ts';
import { renewIndex } from './old-index.ts';
import type { Place } from './spool-count.ts';
import { SpoolEncoder } from './spool-encoder.ts';

const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
/** Of the limit: what the beginning gets, and what the end has at least. The end may have twice as much. */
const BEGINNING = 0.6;
const END = 0.2;
/** A line that makes a part of the end so much larger is cut. */
const OVERLONG = 1.25;
/** A record covers at most this part of the limit. */
const GROUP = 1 / 32;
const COPY_BYTES = 1024 * 1024;

export interface LogWriterOptions {
  /** Bytes that the job printed of which the log is kept. */
  readonly maxBytes: number;
  readonly merged?: boolean | undefined;
}

/** The files of a log, at the position up to which all are whole. See log-parts for what lies where. */
export class LogWriter {
  readonly encoder: SpoolEncoder;
  readonly #paths: LogPaths;
  readonly #maxBytes: number;
  readonly #first: LogPart;
  /** Which of the two in turn is written; null: still the beginning. */
  #turn: Turn | null;
  /** The older of the two is there. */
  #hasOlder: boolean;
  /** The log is finished: nothing can be added. */
  #sealed: boolean;
  /** What is on disk. */
  #last: IndexRecord;
  #truncated: boolean;
  /** A commit failed in the middle. */
  #torn = false;

  private constructor(
    { maxBytes, merged }: LogWriterOptions,
    paths: LogPaths,
    { first, turn, hasOlder, last, truncated, sealed }: Found,
  ) {
    this.#paths = paths;
    this.#maxBytes = maxBytes;
    this.#first = first;
    this.#turn = turn;
    this.#hasOlder = hasOlder;
    this.#last = last;
    this.#truncated = truncated;
    this.#sealed = sealed;
    const groupBytes = Math.min(32 * 1024, Math.floor(maxBytes * GROUP));
    this.encoder = new SpoolEncoder({ merged, groupBytes, resume: last });
  }

  static async open(paths: LogPaths, options: LogWriterOptions): Promise<LogWriter> {
    await mkdir(dirname(paths.log), { recursive: true, mode: 0o700 });
    return new LogWriter(options, paths, await find(paths));
  }

  get written(): { readonly bytes: number; readonly lines: number } {
    return { bytes: this.#last.logEnd, lines: this.#last.lines };
  }

  /** Whether something of the log is left out. */
  get truncated(): boolean {
    return this.#truncated;
  }

  /** The beginning of a log that is too long is written: only the end of what comes is kept. */
  get keepsEndOnly(): boolean {
    return this.#turn !== null && !this.#sealed;
  }

  /** Bytes that the end of a log has at least. */
  get endBytes(): number {
    return END * this.#maxBytes;
  }

  /**
   * Leaves out all that comes before a place in the spool, and what is there of the end. Nothing is changed by a failure.
   * @param isFull the job has printed more than is kept of a log; else the spool lacks it
   */
  async skip(place: Place, isFull: boolean): Promise<void> {
    await this.commit();
    if (this.#sealed) return;
    const base = this.encoder.recordBefore(place);
    const before = this.#turn;
    const number = before?.number === 0 ? 1 : 0;
    const paths = this.#paths.turns[number];
    await removePart(paths);
    const maxBytes = isFull ? this.#maxBytes : 0;
    const part = await makePart(paths, headerBytes({ base, maxBytes, start: 0 }));
    this.encoder.skip(place, base);
    this.#last = base;
    this.#turn = { part, number };
    this.#hasOlder = false;
    this.#truncated = true;
    if (before === null) return await this.#touch();
    await before.part.close();
    await removePart(this.#paths.turns[before.number]);
    await this.#touch();
  }

  /** Writes the batch, the log before its index. After a failure it may be called again. */
  async commit(): Promise<void> {
    const { batch } = this.encoder;
    if (this.#sealed) return batch.drop(batch.records, batch.length);
    while (!batch.isEmpty) {
      const { records, isFull } = this.#share();
      if (records > 0) {
        await this.#write(records);
        if (this.#turn !== null) await this.#touch();
      }
      if (isFull) await this.#beginTurn();
    }
  }

  /** After the last commit. What the disk has against it leaves the log as it is, which can be read as well. */
  async finish(): Promise<void> {
    if (this.#turn === null || this.#sealed) return;
    await this.#seal(this.#turn);
    this.#sealed = true;
    await this.#touch();
    for (const turn of this.#paths.turns) await removePart(turn);
  }

  /** Cuts off what a failed commit left, and closes. */
  async close(): Promise<void> {
    const part = this.#turn?.part ?? this.#first;
    try {
      // Only then: a successor may have written more already.
      if (this.#torn) {
        await part.index.truncate(part.recordPlace(part.records));
        await part.log.truncate(part.placeOf(part.end));
      }
    } finally {
      await this.#first.close();
      await this.#turn?.part.close();
    }
  }

  /** How many of the batch's records the present part takes, and whether the next one is another's. */
  #share(): { readonly records: number; readonly isFull: boolean } {
    const { batch } = this.encoder;
    const room = this.#turn === null ? BEGINNING * this.#maxBytes : END * this.#maxBytes;
    const begin = this.#turn?.part.header.base.printed ?? 0;
    let isOpen = (this.#last.flags & PARTIAL) !== 0;
    for (let i = 0; i < batch.records; i++) {
      const { flags, printed } = batch.record(i);
      const taken = printed - begin;
      // Between two lines, unless one is longer than all that is kept of a part.
      if (taken > room && (!isOpen || this.#turn === null || taken > OVERLONG * room)) {
        // Something always gets on.
        if (i > 0 || this.#turn === null || this.#turn.part.records > 0) return { records: i, isFull: true };
      }
      isOpen = (flags & PARTIAL) !== 0;
    }
    return { records: batch.records, isFull: false };
  }

  async #write(records: number): Promise<void> {
    const { batch } = this.encoder;
    const part = this.#turn?.part ?? this.#first;
    const last = batch.record(records - 1);
    const bytes = last.logEnd - this.#last.logEnd;
    this.#torn = true;
    await writeFully(part.log, batch.log(bytes), part.placeOf(part.end));
    await writeFully(part.index, batch.index(records), part.recordPlace(part.records));
    this.#torn = false;
    part.records += records;
    part.last = this.#last = last;
    batch.drop(records, bytes);
  }

  /** Begins the next of the two parts in turn, in the place of the older one. */
  async #beginTurn(): Promise<void> {
    const before = this.#turn;
    const number = before?.number === 0 ? 1 : 0;
    const paths = this.#paths.turns[number];
    await removePart(paths);
    const part = await makePart(paths, headerBytes({ base: this.#last, maxBytes: this.#maxBytes, start: 0 }));
    this.#turn = { part, number };
    await before?.part.close();
    if (this.#hasOlder) this.#truncated = true;
    this.#hasOlder = before !== null;
  }

  /** Readers who follow the log watch the index of its beginning. */
  async #touch(): Promise<void> {
    const now = new Date();
    await this.#first.index.utimes(now, now);
  }

  /** Puts the end behind the beginning. */
  async #seal(turn: Turn): Promise<void> {
    const older = this.#hasOlder ? await openTurn(this.#paths.turns[turn.number === 0 ? 1 : 0]) : null;
    try {
      const parts = older === null ? [turn.part] : [older, turn.part];
      const [oldest] = parts;
      if (oldest === undefined) return;
      const gap = gapBetween(this.#first, oldest);
      const log = this.#first.log;
      let at = this.#first.placeOf(this.#first.end);
      await log.truncate(at);
      if (gap !== null) {
        await writeFully(log, gap.line, at);
        at += gap.line.length;
      }
      const fresh = `${this.#paths.end}.new`;
      await rm(fresh, { force: true });
      const index = await open(fresh, 'wx', 0o600);
      try {
        await writeFully(index, headerBytes({ ...oldest.header, start: at }), 0);
        let indexAt = HEADER_BYTES;
        for (const part of parts) {
          at += await copyBytes(part.log, part.placeOf(part.begin), part.end - part.begin, log, at);
          indexAt += await copyBytes(part.index, HEADER_BYTES, part.records * RECORD_BYTES, index, indexAt);
        }
      } finally {
        await index.close();
      }
      await rename(fresh, this.#paths.end);
    } finally {
      await older?.close();
    }
  }
}

interface Turn {
  readonly part: LogPart;
  readonly number: 0 | 1;
}

interface Found {
  readonly first: LogPart;
  readonly turn: Turn | null;
  readonly hasOlder: boolean;
  readonly last: IndexRecord;
  readonly truncated: boolean;
  readonly sealed: boolean;
}

/** Where an earlier writer stopped; cuts off what it left torn. */
async function find(paths: LogPaths): Promise<Found> {
  const opened: LogPart[] = [];
  try {
    if ((await stat(paths.index).catch(ifMissing(null))) === null) await renewIndex(paths);
    const first = await openFirst(paths);
    opened.push(first);
    const end = await openTurn({ log: paths.log, index: paths.end });
    if (end !== null) {
      opened.push(end);
      for (const turn of paths.turns) await removePart(turn);
      const truncated = gapBetween(first, end) !== null;
      await end.close();
      return { first, turn: null, hasOlder: false, last: end.last, truncated, sealed: true };
    }
    const turns: Turn[] = [];
    for (const number of [0, 1] as const) {
      const part = await openTurn(paths.turns[number]);
      if (part === null) continue;
      opened.push(part);
      turns.push({ part, number });
    }
    turns.sort((a, b) => b.part.begin - a.part.begin);
    const turn = turns[0] ?? null;
    let older = turns[1];
    // All between the two was left out, and then the writer was ended.
    if (turn && older && older.part.end < turn.part.begin) {
      await older.part.close();
      await removePart(paths.turns[older.number]);
      older = undefined;
    }
    const part = turn?.part ?? first;
    await part.index.truncate(part.recordPlace(part.records));
    await part.log.truncate(part.placeOf(part.end));
    const oldest = older?.part ?? turn?.part;
    const truncated = oldest !== undefined && gapBetween(first, oldest) !== null;
    await older?.part.close();
    return { first, turn, hasOlder: older !== undefined, last: part.last, truncated, sealed: false };
  } catch (error) {
    for (const part of opened) await part.close().catch(() => undefined);
    throw error;
  }
}

const openFirst = (paths: PartPaths): Promise<LogPart> =>
  openBoth(paths, (log, index) => LogPart.first(log, index));

/** Makes the files where they are not there. They belong to the part; without one they are closed. */
async function openBoth(
  paths: PartPaths,
  begin: (log: FileHandle, index: FileHandle) => Promise<LogPart>,
): Promise<LogPart> {
  const log = await open(paths.log, FLAGS, 0o600);
  try {
    const index = await open(paths.index, FLAGS, 0o600);
    try {
      return await begin(log, index);
    } catch (error) {
      await index.close();
      throw error;
    }
  } catch (error) {
    await log.close();
    throw error;
  }
}

/** @returns null for one that is not there, or was never begun */
async function openTurn({ log: logPath, index: indexPath }: PartPaths): Promise<LogPart | null> {
  const files: FileHandle[] = [];
  let part: LogPart | null = null;
  try {
    const flags = constants.O_RDWR | constants.O_NOFOLLOW;
    const index = await open(indexPath, flags).catch(ifMissing(null));
    if (index === null) return null;
    files.push(index);
    const log = await open(logPath, flags).catch(ifMissing(null));
    if (log === null) return null;
    files.push(log);
    part = await LogPart.later(log, index);
    return part;
  } finally {
    if (part === null) for (const file of files) await file.close();
  }
}

const makePart = (paths: PartPaths, header: Buffer): Promise<LogPart> =>
  openBoth(paths, async (log, index) => {
    await writeFully(index, header, 0);
    const part = await LogPart.later(log, index);
    if (part === null) throw new Error('a part of a log has no header');
    return part;
  });

/** The index first: without it there is no part. */
async function removePart({ log, index }: PartPaths): Promise<void> {
  await rm(index, { force: true });
  await rm(log, { force: true });
}

async function copyBytes(
  from: FileHandle,
  start: number,
  length: number,
  to: FileHandle,
  at: number,
): Promise<number> {
  const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, length));
  for (let done = 0; done < length;) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, length - done));
    const read = await readFully(from, bytes, start + done);
    if (read === 0) throw new Error('a part of a log is shorter than its index says');
    await writeFully(to, bytes.subarray(0, read), at + done);
    done += read;
  }
  return length;
}
