import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { after, before, describe, it } from 'mocha';
import { openLogCapture } from '../../src/logs/log-capture.ts';
import { deleteLog, logSize } from '../../src/logs/log-files.ts';
import { readFrom, readRecords, readTail } from '../../src/logs/log-reader.ts';
import type { LogRecord } from '../../src/logs/log-store.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { entry, spoolOf } from './spool.ts';
import type { SpoolEntry } from './spool.ts';

describe('log reader', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let jobs = 0;

  before(async () => {
    directory = await temporaryDirectory();
  });
  after(() => directory.remove());

  const logOf = async (entries: readonly SpoolEntry[], maxBytes?: number): Promise<string> => {
    const jobId = `job_${++jobs}`;
    const spoolPath = join(directory.path, `${jobId}.spool`);
    await writeFile(spoolPath, spoolOf(entries));
    await (await openLogCapture(directory.path, { jobId, spoolPath, maxBytes })).finish();
    return jobId;
  };
  const wholeText = async (jobId: string): Promise<Buffer> =>
    (await readFrom(directory.path, jobId, 0))?.output ?? Buffer.alloc(0);

  it('answers null for a log that is not there', async () => {
    assert.equal(await readTail(directory.path, 'job_none', 10), null);
    assert.equal(await readFrom(directory.path, 'job_none', 0), null);
    assert.equal(await readRecords(directory.path, 'job_none', { offset: 0 }), null);
    assert.equal(await logSize(directory.path, 'job_none'), null);
  });

  it('gives the last lines, however few there are', async () => {
    const jobId = await logOf(Array.from({ length: 5000 }, (_, i) => entry('stdout', 'F', `n${i + 1}`)));
    for (const tail of [1, 2, 1023, 1024, 1025, 4999, 5000, 10_000]) {
      const answer = await readTail(directory.path, jobId, tail);
      const expected = Math.min(tail, 5000);
      assert.equal(answer?.lines, expected);
      const lines = answer.output.toString().trimEnd().split('\n');
      assert.equal(lines.length, expected);
      assert.ok(lines[0]?.endsWith(`] n${5000 - expected + 1}`));
      assert.ok(lines.at(-1)?.endsWith('] n5000'));
      assert.equal(answer.nextOffset, answer.totalBytes);
      assert.equal(answer.cut, false);
    }
  });

  it('gives whole lines up to the size of an answer when the lines are huge', async () => {
    const huge = [
      ...Array.from({ length: 100 }, () => entry('stdout', 'P', 'q'.repeat(8192))),
      entry('stdout', 'F', ''),
    ];
    const jobId = await logOf([
      ...huge,
      ...huge,
      ...huge,
      ...huge,
      ...huge,
      ...huge,
      entry('stdout', 'F', 'short'),
    ]);
    const tail = await readTail(directory.path, jobId, 100);
    assert.equal(tail?.lines, 6);
    assert.equal(tail.cut, true);
    assert.ok(tail.output.length <= 4 * 1024 * 1024);
    assert.match(tail.output.toString(), /^\[[^\n]*q\n[^]*short\n$/);
  });

  it('pages through any log without losing or repeating a byte', async () => {
    const entries = fc.array(
      fc.record({
        stream: fc.constantFrom('stdout' as const, 'stderr' as const),
        tag: fc.constantFrom('F' as const, 'P' as const),
        text: fc.stringMatching(/^[a-z€é😀]{0,40}$/u).map((text) => Buffer.from(text)),
      }),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(entries, fc.integer({ min: 0, max: 100 }), async (all, maxBytes) => {
        const jobId = await logOf(all);
        const whole = await wholeText(jobId);
        const pages: string[] = [];
        for (let offset = 0; offset < whole.length;) {
          const page = await readFrom(directory.path, jobId, offset, { maxBytes: maxBytes });
          assert.ok(page !== null && page.nextOffset > offset);
          assert.ok(page.output.length <= Math.max(4, maxBytes));
          pages.push(page.output.toString());
          offset = page.nextOffset;
        }
        assert.equal(pages.join(''), whole.toString());
        await deleteLog(directory.path, jobId);
      }),
      { numRuns: 50 },
    );
  });

  it('is the same log by file, by offset, by tail and as records, also where its middle is left out', async () => {
    const piece = fc.oneof(
      { weight: 6, arbitrary: fc.stringMatching(/^[a-zé€😀]{0,60}$/u).map((text) => Buffer.from(text)) },
      {
        weight: 2,
        arbitrary: fc
          .uint8Array({ maxLength: 60 })
          .map((bytes) => Buffer.from(bytes.filter((b) => b !== 10))),
      },
    );
    const entries = fc.array(
      fc.record({
        stream: fc.constantFrom('stdout' as const, 'stdout' as const, 'stderr' as const),
        tag: fc.constantFrom('F' as const, 'F' as const, 'P' as const),
        text: piece,
      }),
      { maxLength: 120, size: 'max' },
    );
    const limit = fc.option(fc.integer({ min: 200, max: 2_000 }), { nil: 1 << 20 });
    await fc.assert(
      fc.asyncProperty(
        entries,
        limit,
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 150 }),
        async (all, maxBytes, room, tail) => {
          const jobId = await logOf(all, maxBytes);
          const file = await readFile(join(directory.path, `${jobId}.log`));
          const pages: Buffer[] = [];
          for (let offset = 0; ;) {
            const page = await readFrom(directory.path, jobId, offset, { maxBytes: room });
            assert.ok(page !== null);
            if (page.nextOffset === offset) break;
            pages.push(page.output);
            offset = page.nextOffset;
          }
          assert.equal(Buffer.concat(pages).toString('hex'), file.toString('hex'), 'by offset');
          const last = await readTail(directory.path, jobId, tail);
          assert.ok(
            last !== null && file.subarray(file.length - last.output.length).equals(last.output),
            'by tail',
          );
          const fileLines = file.toString('latin1').split('\n').length - 1;
          assert.equal(last.lines, Math.min(tail, fileLines));

          const records: LogRecord[] = [];
          for (let offset = 0; ;) {
            const page = await readRecords(directory.path, jobId, { offset }, { maxBytes: room });
            assert.ok(page !== null);
            records.push(...page.records);
            if (page.nextOffset === offset) break;
            offset = page.nextOffset;
          }
          const numbers = records.map(({ seq }) => seq);
          assert.deepEqual(
            numbers,
            [...new Set(numbers)].sort((a, b) => a - b),
          );
          assert.deepEqual(
            records.slice(-1),
            (await readRecords(directory.path, jobId, { tail: 1 }))?.records.slice(-1),
          );
          const bytesOf = ({ text, bytes }: LogRecord): Buffer =>
            bytes === undefined ? Buffer.from(text) : Buffer.from(bytes, 'base64');
          for (const stream of ['stdout', 'stderr'] as const) {
            const printed = Buffer.concat(
              all
                .filter((one) => one.stream === stream)
                .flatMap(({ text, tag }) => [text, Buffer.from(tag === 'F' ? '\n' : '')]),
            );
            const pieces = records
              .filter((record) => record.stream === stream)
              .flatMap((record) => [
                bytesOf(record),
                Buffer.from(record.partial || record.unended ? '' : '\n'),
              ]);
            const shown = Buffer.concat(pieces);
            if (last.truncated) assert.ok(shown.length <= printed.length);
            else assert.equal(shown.toString('hex'), printed.toString('hex'), 'as records');
            if (isUtf8(printed))
              assert.ok(records.every((record) => record.stream !== stream || !record.bytes));
          }
          const marker = records.find(({ text }) => text.startsWith('[TRUNCATED'));
          assert.equal(marker !== undefined, last.truncated);
          if (marker !== undefined) {
            const shown = records.filter((record) => record !== marker);
            const kept = shown.reduce(
              (sum, record) => sum + bytesOf(record).length + (record.partial || record.unended ? 0 : 1),
              0,
            );
            assert.match(marker.text, new RegExp(` ${last.printedBytes - kept} bytes left out here$`));
          }
          await deleteLog(directory.path, jobId);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('gives the same lines as records, from any line on', async () => {
    const jobId = await logOf([
      entry('stdout', 'F', 'one'),
      entry('stdout', 'P', 'tw'),
      entry('stderr', 'F', 'err €'),
      entry('stdout', 'F', 'o'),
    ]);
    const all = await readRecords(directory.path, jobId, { offset: 0 });
    assert.deepEqual(all?.records, [
      { seq: 1, time: '2026-11-21T23:59:58.900Z', stream: 'stdout', text: 'one' },
      { seq: 2, time: '2026-11-21T23:59:58.914Z', stream: 'stderr', text: 'err €' },
      { seq: 3, time: '2026-11-21T23:59:58.907Z', stream: 'stdout', text: 'two' },
    ]);
    const firstLine = (await readFrom(directory.path, jobId, 0, { maxBytes: 20 }))?.nextOffset ?? 0;
    const rest = await readRecords(directory.path, jobId, { offset: firstLine });
    assert.deepEqual(rest?.records, all.records.slice(1));
    assert.deepEqual((await readRecords(directory.path, jobId, { tail: 1 }))?.records, all.records.slice(2));
    assert.deepEqual((await readRecords(directory.path, jobId, { offset: all.nextOffset }))?.records, []);
    assert.deepEqual((await readRecords(directory.path, jobId, { offset: 1e9 }))?.records, []);
  });

  it('marks the pieces of a line that is too long for one, and numbers on', async () => {
    const long = Array.from({ length: 20 }, () => entry('stdout', 'P', 'q'.repeat(8192)));
    const jobId = await logOf([...long, entry('stderr', 'F', 'between'), entry('stdout', 'F', 'end')]);
    const records = (await readRecords(directory.path, jobId, { offset: 0 }))?.records ?? [];
    assert.deepEqual(
      records.map(({ seq, stream, text, partial }) => [seq, stream, text.length, partial ?? false]),
      [
        [1, 'stdout', 65_536, true],
        [2, 'stdout', 65_536, true],
        [3, 'stderr', 7, false],
        [4, 'stdout', 4 * 8192 + 3, false],
      ],
    );
    const lines = (await wholeText(jobId)).toString().split('\n');
    assert.deepEqual(
      lines.map((line) => line.length),
      [15 + 131_072, 15 + 7, 15 + 4 * 8192 + 3, 0],
    );
    assert.equal((await readTail(directory.path, jobId, 3))?.lines, 3);
    assert.equal((await readTail(directory.path, jobId, 2))?.output.toString(), lines.slice(1).join('\n'));
  });

  it('pages records of more than one answer', async () => {
    const jobId = await logOf(Array.from({ length: 25_000 }, (_, i) => entry('stderr', 'F', `n${i}`)));
    let seq = 0;
    for (let offset = 0; ;) {
      const page = await readRecords(directory.path, jobId, { offset });
      assert.ok(page !== null);
      for (const record of page.records) assert.equal(record.seq, ++seq);
      if (page.nextOffset === page.totalBytes) break;
      offset = page.nextOffset;
    }
    assert.equal(seq, 25_000);
  });

  it('needs no longer for the tail of a large log than for that of a small one', async () => {
    const lines = Array.from({ length: 400_000 }, (_, i) => entry('stdout', 'F', `n${i} ${'x'.repeat(80)}`));
    const [small, large] = [await logOf(lines.slice(0, 1000)), await logOf(lines)];
    const fastest = async (jobId: string): Promise<number> => {
      let best = Infinity;
      for (let i = 0; i < 20; i++) {
        const start = performance.now();
        await readTail(directory.path, jobId, 100);
        best = Math.min(best, performance.now() - start);
      }
      return best;
    };
    const [few, many] = [await fastest(small), await fastest(large)];
    assert.ok(many < few * 5 + 2, `${many} ms against ${few} ms`);
  });

  it('deletes a log, and measures it', async () => {
    const jobId = await logOf([entry('stdout', 'F', 'x')]);
    assert.deepEqual(await logSize(directory.path, jobId), { bytes: 17, diskBytes: 17 + 64 });
    await deleteLog(directory.path, jobId);
    await deleteLog(directory.path, jobId);
    const left = (await readdir(directory.path)).filter((name) => name.startsWith(`${jobId}.`));
    assert.deepEqual(left, [`${jobId}.spool`]);
    assert.equal(await readTail(directory.path, jobId, 1), null);
  });
});
