import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { errorsInLog } from '../../processors/log-errors.ts';
import type { LogRecord } from '../../src/logs/log-store.ts';

const errorsIn = (texts: readonly string[]): Promise<string[]> => {
  const records = texts.map((text, i): LogRecord => ({ seq: i + 1, time: '', stream: 'stdout', text }));
  const page = { records, nextOffset: 1, totalBytes: 1, printedBytes: 1, truncated: false };
  return errorsInLog(
    { readRecords: (_, from) => Promise.resolve('offset' in from && from.offset === 0 ? page : null) },
    'job_1',
    true,
  );
};

describe('the errors that are kept with a job', () => {
  it('are what was drawn last, without colours', async () => {
    assert.deepEqual(await errorsIn(['10 %\r20 %\r\u001b[31merror: x\u001b[0m\r\r', '\r\r']), [
      '1: error: x',
    ]);
  });

  it('are found at both ends of a line that is long', async () => {
    const long = 'x'.repeat(60_000);
    const [first = '', second = ''] = await errorsIn([`error: ${long}`, `${long}: command not found`]);
    assert.match(first, /^1: error: x+$/);
    assert.match(second, /^2: x+/);
  });

  it('are looked for in little time, and others get their turn meanwhile', async () => {
    const SIZE = 65_536;
    for (const hostile of ['\r', '\u001b]', '\u001b[1', '\u001bP;', '\u009b', 'assertion ', '\ud83d\ude00']) {
      const line = `${hostile.repeat(SIZE / hostile.length)}x error`;
      const before = process.cpuUsage();
      await errorsIn(Array.from({ length: 60 }, () => line));
      const { user } = process.cpuUsage(before);
      assert.ok(user < 500_000, `${JSON.stringify(hostile)}: ${user} µs`);
    }
    let turns = 0;
    let searching = true;
    const count = (): void => {
      turns += 1;
      if (searching) setImmediate(count);
    };
    setImmediate(count);
    await errorsIn(Array.from({ length: 60_000 }, (_, i) => `${'assertion '.repeat(40)}${i}`));
    searching = false;
    assert.ok(turns > 5, `${turns} turns`);
  });
});
