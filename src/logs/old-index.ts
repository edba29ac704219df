/**
 * The index of a log as earlier versions wrote it: `<job>.idx`, records of 32 bytes, one for each piece (of
 * which today's hold the first five fields). It is made anew as today's when the log is first opened.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, rm } from 'node:fs/promises';
import { systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { readFully, writeFully } from '../files/read-fully.ts';
import {
  breaksLine,
  continuesLine,
  type IndexRecord,
  NO_RECORD,
  PARTIAL,
  PENDING_STDERR,
  PENDING_STDOUT,
  PREFIX_BYTES,
  readU64,
  RECORD_BYTES,
  streamOf,
  STREAM_MASK,
  SYSTEM,
  viewOf,
  writeRecord,
} from './log-index.ts';

const OLD_BYTES = 32;
const PER_READ = 8_192;
/** What means the same in both; another bit said that the log ends there. */
const FLAGS = STREAM_MASK | PARTIAL | PENDING_STDOUT | PENDING_STDERR;

/** @param paths of the log and its two indexes @returns whether there is today's now */
export async function renewIndex(paths: {
  readonly log: string;
  readonly old: string;
  readonly index: string;
}): Promise<boolean> {
  const old = await open(paths.old, 'r').catch(ifMissing(null));
  if (old === null) return false;
  const draft = `${paths.index}.${randomBytes(8).toString('hex')}.new`;
  try {
    const log = await open(paths.log, 'r').catch(ifMissing(null));
    if (log === null) return false;
    const { size } = await log.stat();
    await log.close();
    const index = await open(draft, 'wx', 0o600);
    try {
      await convert(old, size, index);
    } finally {
      await index.close();
    }
    // One that another process has made meanwhile may have grown already.
    await link(draft, paths.index).catch((error: unknown) => {
      if (systemCode(error) !== 'EEXIST') throw error;
    });
    await rm(paths.old, { force: true });
    return true;
  } finally {
    await old.close();
    await rm(draft, { force: true });
  }
}

async function convert(old: FileHandle, logSize: number, index: FileHandle): Promise<void> {
  const records = Math.floor((await old.stat()).size / OLD_BYTES);
  let last = NO_RECORD;
  for (let first = 0; first < records; first += PER_READ) {
    const count = Math.min(PER_READ, records - first);
    const from = Buffer.alloc(count * OLD_BYTES);
    await readFully(old, from, first * OLD_BYTES);
    const to = Buffer.alloc(count * RECORD_BYTES);
    const [fromView, toView] = [viewOf(from), viewOf(to)];
    let taken = 0;
    for (; taken < count; taken++) {
      const next = nextOf(last, fromView, taken * OLD_BYTES);
      // The log was cut off there.
      if (next.logEnd > logSize) break;
      writeRecord(toView, taken, (last = next));
    }
    await writeFully(index, to.subarray(0, taken * RECORD_BYTES), first * RECORD_BYTES);
    if (taken < count) return;
  }
}

function nextOf(last: IndexRecord, view: DataView, at: number): IndexRecord {
  const logEnd = readU64(view, at);
  const flags = view.getUint32(at + 24, true) & FLAGS;
  const isBroken = breaksLine(flags, last.flags);
  const isWhole = (flags & PARTIAL) === 0;
  const ours = (isBroken ? 1 : 0) + (continuesLine(flags, last.flags) ? 0 : PREFIX_BYTES);
  return {
    logEnd,
    timeMs: readU64(view, at + 8),
    spoolEnd: readU64(view, at + 16),
    flags,
    back: view.getUint32(at + 28, true),
    pieces: last.pieces + 1,
    lines: last.lines + (isBroken ? 1 : 0) + (isWhole ? 1 : 0),
    printed: last.printed + (streamOf(flags) === SYSTEM ? 0 : logEnd - last.logEnd - ours),
    carry: NO_RECORD.carry,
  };
}
