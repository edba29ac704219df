import assert from 'node:assert/strict';
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openLogCapture } from '../../src/logs/log-capture.ts';
import type { CaptureOptions, LogCapture } from '../../src/logs/log-store.ts';
import { gapsPath } from '../../src/logs/spool-gaps.ts';
import { readFrom, readRecords, readTail } from '../../src/logs/log-reader.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { startPrinter } from './container.ts';
import { crashingAt } from './crashes.ts';
import { entry, spoolOf } from './spool.ts';

const run = promisify(execFile);
const textOf = (log: Buffer): string => log.toString('latin1').replaceAll(/^\[[\d:.]{12}\] /gm, '');
const numbered = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, i) => `line ${from + i}\n`).join('');

describe('log capture', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let logsDir: string;
  let spoolPath: string;
  let opened: LogCapture[];

  beforeEach(async () => {
    directory = await temporaryDirectory();
    logsDir = join(directory.path, 'logs');
    spoolPath = join(directory.path, 'spool', 'ctr.log');
    opened = [];
  });

  afterEach(async () => {
    for (const capture of opened) await capture.close();
    await directory.remove();
  });

  const capture = async (
    options: Partial<CaptureOptions> & { readonly into?: string } = {},
  ): Promise<LogCapture> => {
    const { into = logsDir, ...rest } = options;
    const one = await openLogCapture(into, { jobId: 'job_1', spoolPath, ...rest });
    opened.push(one);
    return one;
  };
  const print = async (...entries: Parameters<typeof spoolOf>[0]): Promise<void> => {
    await mkdir(join(directory.path, 'spool'), { recursive: true });
    await appendFile(spoolPath, spoolOf(entries));
  };
  const log = async (): Promise<string> => textOf(await readFile(join(logsDir, 'job_1.log')));

  it('writes system lines before the spool exists, and the spool when it appears', async () => {
    const one = await capture();
    one.system('pulling image');
    await eventually('the system line is written', async () => (await log()) === 'pulling image\n');
    one.follow();
    await print(entry('stdout', 'F', 'hello'));
    await eventually('the line is written', async () => (await log()) === 'pulling image\nhello\n');
    await print(entry('stdout', 'P', 'no newline'));
    const result = await one.finish();
    assert.deepEqual(result, { bytes: 15 * 3 + 14 + 6 + 11, lines: 3, truncated: false, incomplete: false });
    assert.equal(await log(), 'pulling image\nhello\nno newline\n');
  });

  // How soon is measured in bench/logs.ts: tests share the machine.
  it('makes each line readable while the job runs', async () => {
    const one = await capture();
    one.follow();
    for (let i = 0; i < 40; i++) {
      await print(entry('stdout', 'F', `line ${i}`));
      await eventually(
        'the line can be read',
        async () => (await readTail(logsDir, 'job_1', 1))?.output.toString().endsWith(`line ${i}\n`),
        { everyMs: 1 },
      );
    }
  });

  it('shows a line that stays unfinished, and goes on with it', async () => {
    const one = await capture();
    one.follow();
    await print(entry('stdout', 'F', 'before'), entry('stdout', 'P', 'Continue? '));
    const tail = async (): Promise<string> =>
      textOf((await readTail(logsDir, 'job_1', 2))?.output ?? Buffer.of());
    await eventually('the line before is written', async () => (await tail()).startsWith('before\n'));
    await eventually('the prompt is shown', async () => (await tail()) === 'before\nContinue? ', {
      timeoutMs: 3000,
    });
    // A client that follows by offsets gets whole lines.
    const page = await readFrom(logsDir, 'job_1', 0);
    assert.equal(textOf(page?.output ?? Buffer.of()), 'before\n');
    await print(entry('stdout', 'P', 'y'), entry('stdout', 'F', ''), entry('stderr', 'P', '10 %\r'));
    await eventually('the progress bar is shown', async () => (await tail()).endsWith('Continue? y\n10 %\r'));
    await print(entry('stdout', 'F', 'other'), entry('stderr', 'P', '20 %\r'));
    await one.close();
    const second = await capture();
    await second.finish();
    assert.equal(await log(), 'before\nContinue? y\n10 %\r\nother\n20 %\r\n');
  });

  it('goes on after a detach without losing or repeating, unfinished lines of both streams included', async () => {
    await print(entry('stdout', 'F', 'one'), entry('stdout', 'P', 'tw'), entry('stderr', 'F', 'err'));
    const first = await capture();
    first.follow();
    await eventually('the first lines are written', async () => (await log()) === 'one\nerr\n');
    await first.close();
    await print(entry('stderr', 'P', 'er'), entry('stdout', 'F', 'o'), entry('stderr', 'F', 'r2'));
    const second = await capture();
    assert.equal((await second.finish()).lines, 4);
    assert.equal(await log(), 'one\nerr\ntwo\nerr2\n');
    const third = await capture();
    assert.equal((await third.finish()).lines, 4);
    assert.equal(await log(), 'one\nerr\ntwo\nerr2\n');
  });

  it('mends files that a kill left torn', async () => {
    await print(
      ...Array.from({ length: 500 }, (_, i) => entry(i % 3 ? 'stdout' : 'stderr', 'F', `line ${i + 1}`)),
    );
    await (await capture()).finish();
    const [whole, index] = [join(logsDir, 'job_1.log'), join(logsDir, 'job_1.index')];
    const expected = numbered(1, 500);
    assert.equal(await log(), expected);
    for (const tear of [
      () => truncate(index, 64 * 100 + 17),
      () => truncate(whole, 3333),
      () => appendFile(whole, 'half a li'),
      () => appendFile(index, Buffer.alloc(63, 255)),
      () => truncate(index, 0),
      () => truncate(whole, 0),
    ]) {
      await tear();
      const seen = (await readFrom(logsDir, 'job_1', 0))?.output ?? Buffer.alloc(0);
      assert.ok(expected.startsWith(textOf(seen)), 'a reader sees whole lines only');
      await (await capture()).finish();
      assert.equal(await log(), expected);
    }
  });

  it('refuses a second capture of the same job, and ids that are paths', async () => {
    await capture();
    await assert.rejects(capture(), /captured already/);
    await assert.rejects(capture({ jobId: '../escape' }), /not a job id/);
  });

  it('keeps the first and the last part of a log that is too long, and says exactly what is missing', async () => {
    const maxBytes = 1024 * 1024;
    const lines = Array.from({ length: 40_000 }, (_, i) => `${i} ${'x'.repeat(i % 97)}`);
    const printedOf = (some: readonly string[]): number =>
      some.reduce((sum, line) => sum + line.length + 1, 0);
    let truncations = 0;
    const one = await capture({ maxBytes, onTruncated: () => (truncations += 1) });
    one.follow();
    await print(...lines.slice(0, 15_000).map((line) => entry('stdout', 'F', line)));
    await eventually('all of it is taken', async () =>
      (await readTail(logsDir, 'job_1', 1))?.output.toString().endsWith(`${lines[14_999]}\n`),
    );
    assert.equal(truncations, 0, 'nothing is left out of what is not too long');
    await print(...lines.slice(15_000).map((line) => entry('stdout', 'F', line)));
    await eventually('it is known while the job runs', () => truncations === 1);
    await eventually('the end can be read while the job runs', async () =>
      (await readTail(logsDir, 'job_1', 1))?.output.toString().endsWith(`${lines.at(-1)}\n`),
    );
    await one.close();
    const running = (await readTail(logsDir, 'job_1', 10_000))?.output.toString('latin1');
    const second = await capture({ maxBytes });
    second.system('the last word');
    const result = await second.finish();
    assert.deepEqual([result.truncated, result.incomplete], [true, false]);
    const written = (await log()).split('\n').slice(0, -1);
    const at = written.findIndex((line) => line.startsWith('[TRUNCATED'));
    const [head, tail] = [written.slice(0, at), written.slice(at + 1, -1)];
    assert.deepEqual(head, lines.slice(0, head.length));
    assert.deepEqual(tail, lines.slice(lines.length - tail.length));
    assert.equal(written.at(-1), 'the last word');
    const missing = lines.slice(head.length, lines.length - tail.length);
    assert.equal(
      written[at],
      `[TRUNCATED - log exceeded 1 MB limit] ${missing.length} lines, ${printedOf(missing)} bytes left out here`,
    );
    assert.ok(printedOf(tail) >= maxBytes / 5 && printedOf(head) > maxBytes * 0.55, `${printedOf(tail)}`);
    assert.ok(printedOf(head) + printedOf(tail) <= maxBytes);
    assert.ok(running?.endsWith(`${lines.at(-1)}\n`));
    const left = (await readdir(logsDir)).sort();
    assert.deepEqual(left, ['job_1.index', 'job_1.index.end', 'job_1.log']);
    // Doing it again changes nothing.
    assert.deepEqual(await (await capture({ maxBytes })).finish(), result);
    assert.equal((await log()).split('\n').length - 1, written.length);
    assert.equal((await readTail(logsDir, 'job_1', 1))?.truncated, true);
  });

  it('keeps both ends of one line that is too long', async () => {
    const maxBytes = 1024 * 1024;
    const digits = Array.from({ length: 400_000 }, (_, i) => String(i).padStart(9, '0')).join('');
    const pieces = digits.match(/.{1,8192}/g) ?? [];
    await print(...pieces.map((piece) => entry('stdout', 'P', piece)));
    const result = await (await capture({ maxBytes })).finish();
    assert.equal(result.truncated, true);
    const [head = '', marker = '', tail = ''] = (await log()).split('\n');
    assert.ok(digits.startsWith(head) && digits.endsWith(tail) && tail.length >= maxBytes / 5);
    const left = digits.length - head.length - tail.length;
    assert.equal(marker, `[TRUNCATED - log exceeded 1 MB limit] 0 lines, ${left} bytes left out here`);
  });

  it('goes on after a kill at any moment of a log that is too long', async () => {
    const maxBytes = 64 * 1024;
    const lines = Array.from({ length: 30_000 }, (_, i) => `line ${i + 1}`);
    await print(...lines.map((line, i) => entry(i % 3 ? 'stdout' : 'stderr', 'F', line)));
    const until = (into: string, at: number): Promise<number> =>
      crashingAt(at, async () => {
        await (await openLogCapture(into, { jobId: 'job_1', spoolPath, maxBytes })).finish();
      });
    const steps = await until(logsDir, Infinity);
    assert.ok(steps > 50 && (await readTail(logsDir, 'job_1', 1))?.truncated, `${steps} steps`);
    const all = lines.map((line) => `${line}\n`).join('');
    for (let at = 1; at <= steps; at += at < steps - 20 ? 5 : 1) {
      const into = join(directory.path, `killed${at}`);
      await until(into, at);
      // What is there can be read, from its beginning to its end.
      for (let offset = 0; ;) {
        const page: Awaited<ReturnType<typeof readFrom>> = await readFrom(into, 'job_1', offset);
        if (page === null || page.nextOffset === offset) break;
        offset = page.nextOffset;
      }
      await (await capture({ into, maxBytes })).finish();
      const resumed = textOf(await readFile(join(into, 'job_1.log')));
      const [head = '', counts = '', tail = ''] = resumed.split(/^\[TRUNCATED[^\]]*\] (.*)\n/m);
      assert.ok(
        all.startsWith(head) && all.endsWith(tail) && tail.length >= maxBytes / 5,
        `step ${at} of ${steps}`,
      );
      const left = all.slice(head.length, all.length - tail.length);
      assert.equal(counts, `${left.split('\n').length - 1} lines, ${left.length} bytes left out here`);
      assert.equal((await readRecords(into, 'job_1', { tail: 1 }))?.records[0]?.seq, lines.length);
    }
  });

  it('goes on after a kill at any moment of a log whose spool has lost parts, before its limit and after', async () => {
    const lines = Array.from({ length: 30_000 }, (_, i) => `line ${i + 1}`);
    const entries = lines.map((line, i) => spoolOf([entry(i % 3 ? 'stdout' : 'stderr', 'F', line)]));
    const offsets = [0];
    for (const bytes of entries) offsets.push((offsets.at(-1) ?? 0) + bytes.length);
    const all = lines.map((line) => `${line}\n`).join('');
    const spool = Buffer.concat(entries);
    const gaps = [
      [2_000, 7_000],
      [7_000, 9_000],
      [20_000, 22_500],
    ] as const;
    let written = '';
    for (const [from, to] of gaps) {
      const [start, end] = [offsets[from] ?? 0, offsets[to] ?? 0];
      spool.fill(0, start, end);
      const bytes = lines.slice(from, to).reduce((sum, line) => sum + line.length + 1, 0);
      written += `${start} ${end} ${to - from} ${to - from} ${bytes}\n`;
    }
    await mkdir(join(directory.path, 'spool'), { recursive: true });
    await writeFile(spoolPath, spool);
    await writeFile(gapsPath(spoolPath), `${written}123 4`); // a line is written while it is read
    for (const maxBytes of [64 * 1024, 16 * 1024 * 1024]) {
      const until = (into: string, at: number): Promise<number> =>
        crashingAt(at, async () => {
          await (await openLogCapture(into, { jobId: 'job_1', spoolPath, maxBytes })).finish();
        });
      const steps = await until(join(directory.path, `whole${maxBytes}`), Infinity);
      for (let at = 1; at <= steps; at += 1) {
        const into = join(directory.path, `killed${maxBytes}-${at}`);
        await until(into, at);
        for (let offset = 0; ;) {
          const page: Awaited<ReturnType<typeof readFrom>> = await readFrom(into, 'job_1', offset);
          if (page === null || page.nextOffset === offset) break;
          offset = page.nextOffset;
        }
        await (await capture({ into, maxBytes })).finish();
        const resumed = textOf(await readFile(join(into, 'job_1.log')));
        const [head = '', counts = '', tail = ''] = resumed.split(/^\[TRUNCATED[^\]]*\] (.*)\n/m);
        assert.ok(head !== '' && all.startsWith(head) && all.endsWith(tail), `step ${at} of ${steps}`);
        const left = all.slice(head.length, all.length - tail.length);
        assert.equal(counts, `${left.split('\n').length - 1} lines, ${left.length} bytes left out here`);
        assert.ok(tail.length >= Math.min(maxBytes / 5, 7_500 * 11), `${tail.length}`);
      }
    }
  });

  it('keeps little memory for a line without end', async () => {
    await mkdir(join(directory.path, 'spool'));
    const block = spoolOf(Array.from({ length: 1024 }, () => entry('stdout', 'P', 'q'.repeat(8192))));
    for (let i = 0; i < 64; i++) await appendFile(spoolPath, block);
    const before = process.memoryUsage().rss;
    const one = await capture({ maxBytes: 1e12 });
    one.follow();
    let peak = 0;
    const sampling = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 5);
    const result = await one.finish().finally(() => clearInterval(sampling));
    assert.ok(peak > 0);
    assert.deepEqual(result, { bytes: 64 * 8192 * 1024 + 16, lines: 1, truncated: false, incomplete: false });
    // Garbage that is not collected yet counts as well; the line itself is 512 MiB.
    assert.ok(peak - before < 250e6, `grew by ${peak - before} bytes`);
    const tail = await readTail(logsDir, 'job_1', 1);
    assert.equal(tail?.cut, true);
    assert.ok(tail.output.length <= 4 * 1024 * 1024);
    const records = await readRecords(logsDir, 'job_1', { tail: 1 });
    assert.equal(records?.records.at(-1)?.text.endsWith('q'), true);
  });

  it('frees the part of the spool that is in the log', async () => {
    await mkdir(join(directory.path, 'spool'));
    const block = spoolOf(Array.from({ length: 1024 }, () => entry('stdout', 'F', 'q'.repeat(8192))));
    for (let i = 0; i < 5; i++) await appendFile(spoolPath, block);
    const one = await capture();
    one.follow();
    const { size } = await stat(spoolPath);
    await eventually('the spool takes less', async () => {
      const { blocks, size: now } = await stat(spoolPath);
      return now === size && blocks * 512 < size - 7 * 1024 * 1024;
    });
  });

  it('survives a full disk, and says what is missing if it stays full', async () => {
    const mount = join(directory.path, 'small');
    await mkdir(mount);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mount]);
    try {
      const lines = Array.from({ length: 4000 }, (_, i) => entry('stdout', 'F', `line ${i + 1}`));
      await print(...lines.slice(0, 1000));
      const troubles: string[] = [];
      const one = await capture({ into: mount, onTrouble: (error) => troubles.push(error.message) });
      one.follow();
      const read = async (): Promise<string> => textOf(await readFile(join(mount, 'job_1.log')));
      await eventually('the first lines are written', async () => (await read()) === numbered(1, 1000));
      await writeFile(join(mount, 'ballast'), Buffer.alloc(150 * 1024));
      await print(...lines.slice(1000, 3000));
      await eventually('the trouble is told', () => troubles.length > 0);
      assert.match(troubles[0] ?? '', /ENOSPC/);
      await run('mount', ['-o', 'remount,size=512k', mount]);
      await eventually('it goes on', async () => (await read()) === numbered(1, 3000));
      await writeFile(join(mount, 'ballast'), Buffer.alloc(500 * 1024)).catch(() => undefined);
      await print(...lines.slice(3000));
      const result = await one.finish();
      assert.equal(result.incomplete, true);
      assert.equal(result.lines, 3000);
      assert.equal(await read(), numbered(1, 3000));
      assert.equal(troubles.length, 2);
    } finally {
      await run('umount', ['-l', mount]);
    }
  });

  describe('of a real container', () => {
    let printer: Awaited<ReturnType<typeof startPrinter>> | undefined;

    beforeEach(() => mkdir(join(directory.path, 'spool')));
    afterEach(async () => {
      await printer?.remove();
      printer = undefined;
    });

    it('has both streams, long lines, raw bytes and an unended last line', async () => {
      const one = await capture();
      one.follow();
      const script =
        "printf 'a\\rb\\0c\\377\\n'; printf half; sleep 0.1; echo err >&2; sleep 0.1; echo ' line'; " +
        "head -c 100000 /dev/zero | tr '\\0' q; echo; printf tail";
      printer = await startPrinter(spoolPath, script);
      await printer.ended;
      await one.finish();
      assert.equal(await log(), `a\rb\0c\xff\nerr\nhalf line\n${'q'.repeat(100_000)}\ntail\n`);
      const records = (await readRecords(logsDir, 'job_1', { offset: 0 }))?.records ?? [];
      // A line that comes slowly is written in pieces: how many, the machine decides.
      const streams = records.map(({ stream }) => stream);
      assert.deepEqual(
        streams.filter((stream, index) => stream !== streams[index - 1]),
        ['stdout', 'stderr', 'stdout'],
      );
    });

    it('has every line once after its capture was killed again and again', async () => {
      const count = 40_000;
      const script = `for ((i = 1; i <= ${count}; i++)); do echo line $i; ((i % 400)) || sleep 0.02; done`;
      printer = await startPrinter(spoolPath, script);
      const sizes: number[] = [];
      for (let kill = 0; kill < 4; kill++) {
        const before = sizes.at(-1) ?? 0;
        const child = fork(join(import.meta.dirname, 'fixtures', 'capture.ts'), [
          logsDir,
          'job_1',
          spoolPath,
        ]);
        await eventually('the log grows', async () => {
          const { size } = await stat(join(logsDir, 'job_1.log'));
          return size > before + 15_000 && sizes.push(size);
        });
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }
      await printer.ended;
      const result = await (await capture()).finish();
      assert.equal(result.lines, count);
      assert.equal(await log(), numbered(1, count));
    });

    it('counts exactly what is printed faster than a log can be made of it, and keeps its end', async () => {
      const one = await capture({ maxBytes: 1024 * 1024 });
      one.follow();
      printer = await startPrinter(spoolPath, 'yes | head -c 20000000; seq 1000; echo last words');
      await printer.ended;
      const result = await one.finish();
      assert.deepEqual([result.truncated, result.incomplete], [true, false]);
      const text = await log();
      const counts = /(\d+) lines, (\d+) bytes/.exec(text);
      const [first = '', end = ''] = text.split(/^\[TRUNCATED.*\n/m);
      assert.ok(first.length > 0.55 * 1024 * 1024 && end.length >= 0.2 * 1024 * 1024, `${end.length}`);
      assert.ok(end.endsWith('\n999\n1000\nlast words\n'));
      const printed = 20_000_000 + 3893 + 11;
      assert.equal(Number(counts?.[2]) + first.length + end.length, printed);
      const lines = (part: string): number => part.split('\n').length - 1;
      assert.equal(Number(counts?.[1]) + lines(first) + lines(end), 10_000_000 + 1_000 + 1);
      const tail = await readTail(logsDir, 'job_1', 2);
      assert.match(tail?.output.toString() ?? '', /\] 1000\n\[.*\] last words\n$/);
    });

    it('lets an endless printer run at full speed without filling the disk', async () => {
      const one = await capture({ maxBytes: 1024 * 1024 });
      one.follow();
      printer = await startPrinter(spoolPath, 'yes $(printf %0200d 0) | head -c 1000000000');
      let most = 0;
      let ended = false;
      void printer.ended.then(() => (ended = true));
      await eventually(
        'the printer has ended',
        async () => {
          most = Math.max(most, (await stat(spoolPath)).blocks * 512);
          return ended;
        },
        { timeoutMs: 100_000 },
      );
      const result = await one.finish();
      assert.equal(result.truncated, true);
      assert.ok(most < 700e6, `the spool took ${most} bytes`);
      const counts = /(\d+) lines, (\d+) bytes/.exec(await log());
      const kept = (await log()).replace(/^\[TRUNCATED.*\n/m, '');
      assert.equal(Number(counts?.[2]) + kept.length, 1_000_000_000 + (kept.endsWith('0\n') ? 1 : 0));
    });
  });
});
