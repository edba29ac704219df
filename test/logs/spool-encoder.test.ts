import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  PARTIAL,
  RECORD_BYTES,
  STREAM_NAMES,
  TRUNCATED,
  breaksLine,
  continuesLine,
  readRecord,
  streamOf,
  viewOf,
} from '../../src/logs/log-index.ts';
import type { IndexRecord } from '../../src/logs/log-index.ts';
import { PENDING_REACH_BYTES, SpoolEncoder, truncationText } from '../../src/logs/spool-encoder.ts';
import { entry, linesOf, spoolOf } from './spool.ts';
import type { SpoolEntry } from './spool.ts';

interface Encoded {
  readonly log: Buffer;
  readonly records: readonly IndexRecord[];
  readonly lines: number;
  readonly truncated: boolean;
}

/** Encodes the spool in chunks of `chunkBytes`; with `kept`, as a capture that found those files and resumes. */
const encodeAll = (spool: Buffer, chunkBytes: number, maxBytes = Infinity, kept?: Encoded): Encoded => {
  const last = kept?.records.at(-1);
  const resume = kept === undefined || last === undefined ? undefined : { last, lines: kept.lines };
  const encoder = new SpoolEncoder({ maxBytes, resume });
  const logs: Buffer[] = [kept?.log ?? Buffer.alloc(0)];
  const records: IndexRecord[] = [...(kept?.records ?? [])];
  const take = (): void => {
    const { log, index } = encoder.batch;
    logs.push(Buffer.from(log));
    for (let i = 0; i < index.length / RECORD_BYTES; i++) records.push(readRecord(viewOf(index), i));
    encoder.batch.clear();
  };
  let size = chunkBytes;
  while (encoder.spoolOffset < spool.length && !encoder.truncated) {
    const chunk = spool.subarray(encoder.spoolOffset, encoder.spoolOffset + size);
    const taken = encoder.encode(chunk, chunk.length);
    size = taken === 0 ? size * 2 : chunkBytes;
    take();
  }
  encoder.end();
  take();
  return { log: Buffer.concat(logs), records, lines: encoder.batch.lines, truncated: encoder.truncated };
};

/** The files after a kill that let `count` records through. */
const killedAfter = (whole: Encoded, count: number): Encoded => {
  const records = whole.records.slice(0, count);
  const log = whole.log.subarray(0, records.at(-1)?.logEnd ?? 0);
  let lines = 0;
  let previous = 0;
  for (const { flags } of records) {
    if (breaksLine(flags, previous)) lines++;
    if ((flags & PARTIAL) === 0) lines++;
    previous = flags;
  }
  return { log, records, lines, truncated: false };
};

/** A capture of a whole spool, one step at a time, that may be killed with any of its records on disk. */
class SteppedCapture {
  readonly #spool: Buffer;
  #encoder = new SpoolEncoder({ maxBytes: Infinity });
  #log = Buffer.alloc(0);
  #records: IndexRecord[] = [];

  constructor(spool: Buffer) {
    this.#spool = spool;
  }

  read(bytes: number): void {
    const { spoolOffset } = this.#encoder;
    const chunk = this.#spool.subarray(spoolOffset, spoolOffset + bytes);
    this.#encoder.encode(chunk, chunk.length);
    this.#commit();
  }

  flush(): void {
    this.#encoder.flushUnfinished(Infinity);
    this.#commit();
  }

  system(): void {
    this.#encoder.system('of ours', 0);
    this.#commit();
  }

  kill(keep: number): void {
    const whole = { log: this.#log, records: this.#records, lines: 0, truncated: false };
    const { log, records, lines } = killedAfter(whole, keep % (this.#records.length + 1));
    const last = records.at(-1);
    this.#log = Buffer.from(log);
    this.#records = [...records];
    this.#encoder = new SpoolEncoder({ maxBytes: Infinity, resume: last && { last, lines } });
  }

  end(): void {
    this.read(this.#spool.length);
    this.#encoder.end();
    this.#commit();
  }

  /** All that the log holds of a stream, with a newline where a line of it ended. */
  textOf(stream: 'stdout' | 'stderr'): string {
    let text = '';
    let begin = 0;
    let previous = 0;
    for (const { logEnd, flags } of this.#records) {
      if (STREAM_NAMES[streamOf(flags)] === stream) {
        const skipped = (breaksLine(flags, previous) ? 1 : 0) + (continuesLine(flags, previous) ? 0 : 15);
        text += this.#log.toString('latin1', begin + skipped, logEnd);
      }
      begin = logEnd;
      previous = flags;
    }
    return text;
  }

  #commit(): void {
    const { log, index } = this.#encoder.batch;
    this.#log = Buffer.concat([this.#log, log]);
    for (let i = 0; i < index.length / RECORD_BYTES; i++) this.#records.push(readRecord(viewOf(index), i));
    this.#encoder.batch.clear();
  }
}

const text = fc.oneof(
  { weight: 8, arbitrary: fc.stringMatching(/^[a-z \r\0é€]{0,30}$/) },
  { weight: 1, arbitrary: fc.constantFrom(8192, 30_000, 65_536, 70_000).map((n) => 'q'.repeat(n)) },
);
const entries = fc.array(
  fc.record({
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    tag: fc.constantFrom('F' as const, 'F' as const, 'P' as const),
    text: text.map((value) => Buffer.from(value)),
  }),
  { maxLength: 60 },
);
const isLong = ({ text: bytes }: SpoolEntry): boolean => bytes.length > 1000;
const withoutPrefix = (log: Buffer): string[] =>
  log
    .toString()
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      assert.match(line, /^\[\d\d:\d\d:\d\d\.\d{3}\] /);
      return line.slice(15);
    });
const withoutTimes = (log: Buffer): string =>
  log.toString('latin1').replaceAll(/\[\d\d:\d\d:\d\d\.\d{3}\]/g, '');

describe('spool encoder', () => {
  it('writes every line of both streams once and never mixes two of them', () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 1, max: 5000 }), (all, chunkBytes) => {
        const short = all.filter((one) => !isLong(one));
        const { log, lines } = encodeAll(spoolOf(short), chunkBytes);
        const written = withoutPrefix(log);
        assert.equal(written.length, lines);
        const expected = [...linesOf(short, 'stdout'), ...linesOf(short, 'stderr')];
        assert.deepEqual(written.sort(), expected.sort());
      }),
    );
  });

  it('makes the same log after a kill at any record, with lines without end and any chunking', () => {
    fc.assert(
      fc.property(
        entries,
        fc.integer({ min: 1, max: 200_000 }),
        fc.nat(),
        fc.option(fc.integer({ min: 0, max: 300_000 }), { nil: Infinity }),
        (all, chunkBytes, at, maxBytes) => {
          const spool = spoolOf(all);
          const whole = encodeAll(spool, 1 << 20, maxBytes);
          const kept = killedAfter(whole, at % (whole.records.length + 1));
          // A log that had its last line is complete.
          if (((kept.records.at(-1)?.flags ?? 0) & TRUNCATED) !== 0) return;
          const resumed = encodeAll(spool, chunkBytes, maxBytes, kept);
          // A kill within the truncation may put the time of the following entry before the last line.
          if (whole.truncated) assert.deepEqual(withoutTimes(resumed.log), withoutTimes(whole.log));
          else assert.deepEqual(resumed, whole);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('loses and repeats nothing of any stream, whenever it is flushed, interrupted and killed', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('read' as const), bytes: fc.integer({ min: 1, max: 600 }) }),
      fc.record({ do: fc.constantFrom('flush' as const, 'system' as const) }),
      fc.record({ do: fc.constant('kill' as const), keep: fc.nat() }),
    );
    const piece = fc.record({
      stream: fc.constantFrom('stdout' as const, 'stderr' as const),
      tag: fc.constantFrom('F' as const, 'P' as const),
      text: fc.stringMatching(/^[a-z]{0,3}$/).map((value) => Buffer.from(value)),
    });
    const short = fc.array(piece, { maxLength: 40, size: 'max' });
    fc.assert(
      fc.property(short, fc.array(step, { maxLength: 40, size: 'max' }), (all, steps) => {
        const spool = spoolOf(all);
        const capture = new SteppedCapture(spool);
        for (const one of steps) {
          if (one.do === 'read') capture.read(one.bytes);
          else if (one.do === 'kill') capture.kill(one.keep);
          else capture[one.do]();
        }
        capture.end();
        for (const stream of ['stdout', 'stderr'] as const) {
          const printed = all
            .filter((one) => one.stream === stream)
            .map(({ text: bytes, tag }) => bytes.toString('latin1') + (tag === 'F' ? '\n' : ''))
            .join('');
          // The end of the spool may end the last line.
          const written = capture.textOf(stream);
          assert.equal(written, written === `${printed}\n` ? `${printed}\n` : printed);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps the first bytes up to the limit and ends with the truncation line', () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 0, max: 2000 }), (all, maxBytes) => {
        const spool = spoolOf(all);
        const free = encodeAll(spool, 1 << 20);
        const held = encodeAll(spool, 1 << 20, maxBytes);
        assert.equal(held.truncated, free.log.length > maxBytes);
        if (!held.truncated) return;
        const kept = held.log.subarray(0, held.log.lastIndexOf('\n', held.log.length - 2) + 1);
        assert.ok(kept.length <= maxBytes + 1);
        const common = Math.max(0, kept.length - 1);
        assert.deepEqual(kept.subarray(0, common), free.log.subarray(0, common));
        assert.equal(withoutPrefix(held.log).at(-1), truncationText(maxBytes));
      }),
    );
  });

  it('keeps bytes that are no text as they are', () => {
    const bytes = Buffer.from([0x61, 0x0d, 0x62, 0x00, 0xff, 0xfe, 0x1b, 0x5b, 0x80]);
    const { log } = encodeAll(spoolOf([entry('stdout', 'F', bytes), entry('stdout', 'F', '')]), 10);
    assert.equal(log.toString('latin1'), `[23:59:58.900] ${bytes.toString('latin1')}\n[23:59:58.907] \n`);
  });

  it('takes times of another zone and precision', () => {
    const spool = Buffer.from(
      '2026-11-21T01:02:03.004005006+05:30 stdout F a\n2026-11-21T01:02:03Z stderr F b\n' +
        '2026-11-21T01:02:03.5-01:00 stdout F c\n',
    );
    assert.equal(
      encodeAll(spool, 10).log.toString(),
      '[19:32:03.004] a\n[01:02:03.000] b\n[02:02:03.500] c\n',
    );
  });

  it('keeps an entry without a header as a line of its own', () => {
    const spool = Buffer.concat([
      Buffer.from('\n\nno header at all\n'),
      spoolOf([entry('stdout', 'F', 'x')]),
    ]);
    assert.deepEqual(withoutPrefix(encodeAll(spool, 10).log), ['', '', 'no header at all', 'x']);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 1, max: 50 }), (noise, chunkBytes) => {
        const around = Buffer.concat([noise, Buffer.from('\n'), spoolOf([entry('stderr', 'F', 'after')])]);
        assert.ok(encodeAll(around, chunkBytes).log.toString().endsWith('after\n'));
      }),
    );
  });

  it('cuts a line without end into pieces and writes an unfinished one when the other stream prints on', () => {
    const endless = Array.from({ length: 100 }, () => entry('stdout', 'P', 'q'.repeat(8192)));
    const long = encodeAll(spoolOf(endless), 1 << 20);
    assert.equal(long.lines, 1);
    assert.equal(long.log.length, 15 + 100 * 8192 + 1);
    assert.ok(long.records.length >= 13);

    const flood = Array.from({ length: PENDING_REACH_BYTES / 8192 + 10 }, () =>
      entry('stderr', 'F', 'e'.repeat(8192)),
    );
    const all = [entry('stdout', 'P', 'waiting '), ...flood, entry('stdout', 'F', 'done')];
    const whole = encodeAll(spoolOf(all), 1 << 20);
    const written = withoutPrefix(whole.log);
    assert.equal(written.filter((line) => line === 'waiting ').length, 1);
    assert.equal(written.at(-1), 'done');
    for (let count = 0; count <= whole.records.length; count += 50) {
      assert.deepEqual(encodeAll(spoolOf(all), 1 << 20, Infinity, killedAfter(whole, count)), whole);
    }
  });

  it('puts system lines between the lines of the job, without losing an unfinished one', () => {
    const encoder = new SpoolEncoder({ maxBytes: Infinity });
    const spool = spoolOf([entry('stdout', 'P', 'a'), entry('stderr', 'P', 'b')]);
    encoder.system('pulling\r\nlayer 1\n', 0);
    encoder.encode(spool, spool.length);
    encoder.system('timeout', 0);
    encoder.end();
    assert.deepEqual(withoutPrefix(encoder.batch.log), ['pulling', 'layer 1', 'a', 'timeout', 'b']);
  });
});
