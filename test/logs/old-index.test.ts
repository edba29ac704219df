import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openLogCapture } from '../../src/logs/log-capture.ts';
import { readRecords, readTail } from '../../src/logs/log-reader.ts';
import { temporaryDirectory } from '../support/scratch.ts';

/** One record of 32 bytes, as versions before wrote it. */
function oldRecord(logEnd: number, spoolEnd: number, flags: number): Buffer {
  const bytes = Buffer.alloc(32);
  for (const [at, value] of [logEnd, 1_767_322_985_123, spoolEnd].entries())
    bytes.writeBigUInt64LE(BigInt(value), 8 * at);
  bytes.writeUInt32LE(flags, 24);
  return bytes;
}
const PREFIX = '[03:03:05.123] ';
const spool = (text: string): string => `2026-01-02T03:03:05.123000000+00:00 stdout F ${text}\n`;

describe('the log of a version before', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let logs: string;
  beforeEach(async () => {
    directory = await temporaryDirectory();
    logs = join(directory.path, 'logs');
    await mkdir(logs);
    // stdout, then a line of stdout that stderr broke, the rest of it, and a system line.
    const pieces = [`${PREFIX}one\n`, `${PREFIX}tw`, `\n${PREFIX}err\n`, `${PREFIX}o\n`, `${PREFIX}said\n`];
    const flags = [0, 4, 1, 0, 2 | 8];
    const spooled = spool('one').length;
    let end = 0;
    const records = pieces.map((piece, at) => oldRecord((end += piece.length), spooled, flags[at] ?? 0));
    await writeFile(join(logs, 'job_1.log'), pieces.join(''));
    await writeFile(join(logs, 'job_1.idx'), Buffer.concat(records));
    await writeFile(join(directory.path, 'spool.log'), spool('one'));
  });
  afterEach(() => directory.remove());

  it('is read as it was, also from a line on, and where its end was torn', async () => {
    await appendFile(join(logs, 'job_1.idx'), Buffer.concat([oldRecord(9_999, 100, 0), Buffer.alloc(7)]));
    const log = await readRecords(logs, 'job_1', { line: 2 });
    assert.deepEqual(
      log?.records.map(({ seq, stream, text }) => [seq, stream, text]),
      [
        [2, 'stdout', 'tw'],
        [3, 'stderr', 'err'],
        [4, 'stdout', 'o'],
        [5, 'system', 'said'],
      ],
    );
    // one, newline, tw, err, newline, o, newline
    assert.equal(log?.printedBytes, 4 + 2 + 4 + 2);
    assert.match((await readTail(logs, 'job_1', 2))?.output.toString() ?? '', /^\[\S+\] o\n\[\S+\] said\n$/);
    assert.deepEqual((await readdir(logs)).sort(), ['job_1.index', 'job_1.log']);
  });

  it('goes on where it was, for a job that runs while the version changes', async () => {
    const spoolPath = join(directory.path, 'spool.log');
    await appendFile(spoolPath, spool('more'));
    const capture = await openLogCapture(logs, { jobId: 'job_1', spoolPath });
    const { lines } = await capture.finish();
    const log = await readTail(logs, 'job_1', 10);
    assert.match(log?.output.toString() ?? '', /said\n\[\S+\] more\n$/);
    assert.equal(log?.output.toString().split('one\n').length, 2);
    assert.equal(lines, 6);
  });
});
