import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  STREAM_NAMES,
  UNENDED,
  breaksLine,
  continuesLine,
  readRecord,
  streamOf,
  viewOf,
} from '../../src/logs/log-index.ts';
import type { IndexRecord } from '../../src/logs/log-index.ts';
import { PENDING_REACH_BYTES, SpoolEncoder } from '../../src/logs/spool-encoder.ts';
import { entry, linesOf, spoolOf } from './spool.ts';
import type { SpoolEntry } from './spool.ts';

interface Encoded {
  readonly log: Buffer;
  readonly records: readonly IndexRecord[];
  readonly lines: number;
}

/** What the encoder has made since it was last asked. */
const taken = ({ batch }: SpoolEncoder): { readonly log: Buffer; readonly records: IndexRecord[] } => {
  const log = Buffer.from(batch.log(batch.length));
  const records = Array.from({ length: batch.records }, (_, i) => batch.record(i));
  const stored = batch.index(batch.records);
  assert.deepEqual(
    records,
    records.map((_, i) => readRecord(viewOf(stored), i)),
  );
  batch.drop(batch.records, batch.length);
  return { log, records };
};

/** Encodes the spool in chunks of `chunkBytes`; with `kept`, as a capture that found those files and resumes. */
const encodeAll = (spool: Buffer, chunkBytes: number, kept?: Encoded, groupBytes?: number): Encoded => {
  const encoder = new SpoolEncoder({ resume: kept?.records.at(-1), groupBytes });
  const logs: Buffer[] = [kept?.log ?? Buffer.alloc(0)];
  const records: IndexRecord[] = [...(kept?.records ?? [])];
  const take = (): void => {
    const made = taken(encoder);
    logs.push(made.log);
    records.push(...made.records);
  };
  let size = chunkBytes;
  while (encoder.spoolOffset < spool.length) {
    const chunk = spool.subarray(encoder.spoolOffset, encoder.spoolOffset + size);
    const more = encoder.encode(chunk, chunk.length);
    size = more === 0 ? size * 2 : chunkBytes;
    take();
  }
  encoder.end();
  take();
  return { log: Buffer.concat(logs), records, lines: encoder.batch.lines };
};

/** The files after a kill that let `count` records through. */
const killedAfter = (whole: Encoded, count: number): Encoded => {
  const records = whole.records.slice(0, count);
  const last = records.at(-1);
  return { log: whole.log.subarray(0, last?.logEnd ?? 0), records, lines: last?.lines ?? 0 };
};

/** A capture of a whole spool, one step at a time, that may be killed with any of its records on disk. */
class SteppedCapture {
  readonly #spool: Buffer;
  #encoder = new SpoolEncoder({ groupBytes: 40 });
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
    const whole = { log: this.#log, records: this.#records, lines: 0 };
    const { log, records } = killedAfter(whole, keep % (this.#records.length + 1));
    this.#log = Buffer.from(log);
    this.#records = [...records];
    this.#encoder = new SpoolEncoder({ resume: records.at(-1), groupBytes: 40 });
  }

  end(): void {
    this.read(this.#spool.length);
    this.#encoder.end();
    this.#commit();
  }

  /** All that the log holds of a stream, as the job printed it, and its pieces. */
  bytesOf(stream: 'stdout' | 'stderr'): { readonly all: Buffer; readonly pieces: readonly Buffer[] } {
    const pieces: Buffer[] = [];
    let begin = 0;
    let previous = 0;
    for (const { logEnd, flags } of this.#records) {
      if (STREAM_NAMES[streamOf(flags)] === stream) {
        const skipped = breaksLine(flags, previous) ? 1 : 0;
        const lines = this.#log.toString('latin1', begin + skipped, logEnd);
        const text = continuesLine(flags, previous) ? lines : lines.replaceAll(/^\[[\d:.]{12}\] /gm, '');
        pieces.push(Buffer.from((flags & UNENDED) !== 0 ? text.slice(0, -1) : text, 'latin1'));
      }
      begin = logEnd;
      previous = flags;
    }
    return { all: Buffer.concat(pieces), pieces };
  }

  #commit(): void {
    const { log, records } = taken(this.#encoder);
    this.#log = Buffer.concat([this.#log, log]);
    this.#records.push(...records);
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
        fc.integer({ min: 1, max: 200 }),
        (all, chunkBytes, at, groupBytes) => {
          const spool = spoolOf(all);
          const whole = encodeAll(spool, 1 << 20);
          const grouped = encodeAll(spool, 1 << 20, undefined, groupBytes);
          const kept = killedAfter(grouped, at % (grouped.records.length + 1));
          const resumed = encodeAll(spool, chunkBytes, kept, groupBytes);
          assert.deepEqual(grouped.log, whole.log);
          assert.deepEqual(resumed.log, whole.log);
          assert.deepEqual(resumed.records.at(-1), whole.records.at(-1));
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
    // Characters of all lengths, cut anywhere, and bytes that are none.
    const cut = fc
      .tuple(fc.stringMatching(/^[aé€😀]{0,3}$/u), fc.nat(), fc.nat())
      .map(([value, from, to]) => Buffer.from(value).subarray(from % 3, 3 + (to % 10)));
    const noise = fc
      .uint8Array({ maxLength: 3 })
      .map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 10)));
    const piece = fc.record({
      stream: fc.constantFrom('stdout' as const, 'stderr' as const),
      tag: fc.constantFrom('F' as const, 'P' as const),
      text: fc.oneof({ weight: 4, arbitrary: cut }, { weight: 1, arbitrary: noise }),
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
          const printed = Buffer.concat(
            all
              .filter((one) => one.stream === stream)
              .flatMap(({ text: bytes, tag }) => [bytes, Buffer.from(tag === 'F' ? '\n' : '')]),
          );
          const written = capture.bytesOf(stream);
          assert.deepEqual(written.all.toString('hex'), printed.toString('hex'));
          if (isUtf8(printed)) assert.ok(written.pieces.every((bytes) => isUtf8(bytes)));
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('counts what the job printed, and not what is ours', () => {
    fc.assert(
      fc.property(entries, (all) => {
        const printed = all.reduce(
          (sum, { text: bytes, tag }) => sum + bytes.length + (tag === 'F' ? 1 : 0),
          0,
        );
        const encoder = new SpoolEncoder({});
        encoder.system('pulling', 0);
        const spool = spoolOf(all);
        while (encoder.spoolOffset < spool.length)
          encoder.encode(spool.subarray(encoder.spoolOffset), spool.length - encoder.spoolOffset);
        encoder.end();
        assert.equal(encoder.batch.printed, printed);
      }),
    );
  });

  it('has one record for many short lines of one moment', () => {
    const line = spoolOf([entry('stdout', 'F', 'x')]);
    const { records, log } = encodeAll(Buffer.concat(Array.from({ length: 10_000 }, () => line)), 1 << 20);
    assert.equal(log.length, 10_000 * 17);
    assert.ok(records.length < 10, `${records.length} records`);
    assert.equal(records.at(-1)?.pieces, 10_000);
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
      assert.deepEqual(encodeAll(spoolOf(all), 1 << 20, killedAfter(whole, count)).log, whole.log);
    }
  });

  it('puts system lines between the lines of the job, without losing an unfinished one', () => {
    const encoder = new SpoolEncoder({});
    const spool = spoolOf([entry('stdout', 'P', 'a'), entry('stderr', 'P', 'b')]);
    encoder.system('pulling\r\nlayer 1\n', 0);
    encoder.encode(spool, spool.length);
    encoder.system('timeout', 0);
    encoder.end();
    assert.deepEqual(withoutPrefix(encoder.batch.log(encoder.batch.length)), [
      'pulling',
      'layer 1',
      'a',
      'timeout',
      'b',
    ]);
  });
});
