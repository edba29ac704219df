import assert from 'node:assert/strict';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, it } from 'mocha';
import { guardSpools } from '../../src/containers/podman/sandbox/spool-guard.ts';
import { openLogCapture } from '../../src/logs/log-capture.ts';
import { readTail } from '../../src/logs/log-reader.ts';
import { startPrinter } from '../logs/container.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

const MAX_BYTES = 32 * 2 ** 20;

describe('the spool of a job that prints while nobody reads', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let printer: Awaited<ReturnType<typeof startPrinter>> | null = null;
  let letGo: (() => Promise<void>) | null = null;

  afterEach(async () => {
    await printer?.remove();
    await letGo?.();
    printer = letGo = null;
    await directory.remove();
  });

  /** Runs it to its end without a reader. @returns the most that its spool took, and what was made of it afterwards */
  async function printed(script: string, maxBytes: number): Promise<{ most: number; text: string }> {
    directory = await temporaryDirectory();
    const root = join(directory.path, 'sandboxes');
    const spoolPath = join(root, 'one', 'spool.log');
    await mkdir(join(root, 'one'), { recursive: true });
    letGo = guardSpools({ root, lock: join(directory.path, 'lock'), maxBytes: MAX_BYTES, logger: silent });
    printer = await startPrinter(spoolPath, script);
    let [most, ended] = [0, false];
    void printer.ended.then(() => (ended = true));
    await eventually(
      'the job has ended, unhindered',
      async () => {
        most = Math.max(most, (await stat(spoolPath)).blocks * 512);
        return ended;
      },
      { timeoutMs: 100_000 },
    );
    await eventually(
      'what is too much is given back',
      async () => (await stat(spoolPath)).blocks * 512 <= MAX_BYTES,
    );
    const logs = join(directory.path, 'logs');
    const capture = await openLogCapture(logs, { jobId: 'job_1', spoolPath, maxBytes });
    const result = await capture.finish();
    assert.deepEqual([result.truncated, result.incomplete], [true, false]);
    const tail = await readTail(logs, 'job_1', 1);
    assert.match(tail?.output.toString() ?? '', /last words\n$/);
    const log = await readFile(join(logs, 'job_1.log'), 'latin1');
    return { most, text: log.replaceAll(/^\[[\d:.]{12}\] /gm, '') };
  }

  const LINES = 4_000_000;
  const script = `seq 1 ${LINES}; printf x; echo; echo last words`;

  it('is bounded: the job goes on, its first and last part are kept, the gap is counted', async () => {
    for (const [maxBytes, words] of [
      [64 * 2 ** 20, /^\[TRUNCATED - the host could not keep all until it was read\]/],
      [2 ** 20, /^\[TRUNCATED - log exceeded 1 MB limit\]/],
    ] as const) {
      const { text } = await printed(script, maxBytes);
      const [all = '', first = '', marker = '', , end = ''] =
        /^([^]*?)(\[TRUNCATED.*? (?=\d+ lines, \d+ bytes))(.*)\n([^]*)$/.exec(text) ?? [];
      assert.notEqual(all, '');
      assert.match(marker, words);
      const [, lines = '', bytes = ''] = /(\d+) lines, (\d+) bytes left out here/.exec(text) ?? [];
      const length = Array.from({ length: 7 }, (_, i) => 9 * 10 ** i * (i + 2)).reduce((a, b) => a + b, 0);
      const beyond = (10 ** 7 - 1 - LINES) * 8;
      assert.equal(first.length + end.length + Number(bytes), length - beyond + 2 + 11);
      const count = (part: string): number => part.split('\n').length - 1;
      assert.equal(count(first) + count(end) + Number(lines), LINES + 2);
      assert.ok(first.startsWith('1\n2\n3\n') && end.endsWith(`${LINES}\nx\nlast words\n`));
      assert.ok(first.length > 0.5 * 2 ** 20 && end.length > 0.2 * 2 ** 20, `${first.length} ${end.length}`);
      // Whole lines in their order, on both sides.
      for (const part of [first, end.slice(0, end.indexOf('x\n'))]) {
        const numbers = part.trimEnd().split('\n').map(Number);
        assert.ok(numbers.every((n, i) => i === 0 || n === (numbers[i - 1] ?? 0) + 1));
      }
      await printer?.remove();
      printer = null;
      await letGo?.();
      await rm(directory.path, { recursive: true, force: true });
    }
  });

  it('loses count of nothing while it is read more slowly than it is written', async () => {
    directory = await temporaryDirectory();
    const root = join(directory.path, 'sandboxes');
    const spoolPath = join(root, 'one', 'spool.log');
    await mkdir(join(root, 'one'), { recursive: true });
    const maxBytes = 64 * 2 ** 20;
    letGo = guardSpools({ root, lock: join(directory.path, 'lock'), maxBytes, logger: silent });
    const logs = join(directory.path, 'logs');
    const capture = await openLogCapture(logs, { jobId: 'job_1', spoolPath, maxBytes: 2 ** 30 });
    printer = await startPrinter(spoolPath, 'yes | head -c 16000000; echo last words');
    // Read from when it is nearly full.
    let [ended, isFollowed] = [false, false];
    void printer.ended.then(() => (ended = true));
    await eventually(
      'the job has ended',
      async () => {
        const { blocks } = await stat(spoolPath);
        if (!isFollowed && (ended || blocks * 512 > 0.7 * maxBytes)) {
          isFollowed = true;
          capture.follow();
        }
        return ended;
      },
      { timeoutMs: 100_000 },
    );
    await capture.finish();
    const text = (await readFile(join(logs, 'job_1.log'), 'latin1')).replaceAll(/^\[[\d:.]{12}\] /gm, '');
    const [, lines = '0', bytes = '0'] = /(\d+) lines, (\d+) bytes left out here/.exec(text) ?? [];
    const kept = text.replace(/^\[TRUNCATED.*\n/m, '');
    assert.ok(kept.endsWith('y\nlast words\n'));
    assert.equal(kept.length + Number(bytes), 16_000_000 + 11);
    assert.equal(kept.split('\n').length - 1 + Number(lines), 8_000_001);
  });
});
