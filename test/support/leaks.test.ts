import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { before, describe, it } from 'mocha';
import { scratch } from './scratch.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PATIENCE_MS = 3_000;

interface Ended {
  readonly code: number;
  readonly output: string;
  readonly counts: string;
}

describe('a run of the tests', () => {
  const directory = scratch();
  let temporary: string;
  before(async () => {
    await directory.make();
    temporary = directory.path('t');
    mkdirSync(temporary);
  });

  const mocha = (spec: string): Promise<Ended> =>
    new Promise((resolve) => {
      const counts = directory.path('counts');
      const args = [`${ROOT}node_modules/mocha/bin/mocha.js`, '--no-config'];
      const more = ['--require', `${ROOT}test/support/leaks.ts`];
      const reporter = ['--reporter', `${ROOT}scripts/counting-reporter.cjs`];
      const env = {
        ...process.env,
        TMPDIR: temporary,
        FLASHPODS_TEST_COUNTS: counts,
        FLASHPODS_TEST_PATIENCE_MS: String(PATIENCE_MS),
      };
      execFile(
        process.execPath,
        [...args, ...more, ...reporter, spec],
        { env, timeout: 60_000, killSignal: 'SIGKILL' },
        (error, stdout, stderr) =>
          resolve({
            code: error ? Number(error.code) : 0,
            output: stdout + stderr,
            counts: readFileSync(counts, 'utf8'),
          }),
      );
    });

  it('names, ends and counts what its tests left, and ends', async () => {
    const { code, output, counts } = await mocha(
      fileURLToPath(new URL('fixtures/leaves-something.cjs', import.meta.url)),
    );
    assert.equal(code, 1, output);
    assert.match(output, /1 passing/);
    assert.match(output, /left something behind:[^]*process \d+: sleep 1001/);
    const orphan = Number(/process (\d+): sleep 1002/.exec(output)?.[1]);
    assert.match(output, /directory \S+\/fp-left-/);
    assert.match(output, /open handle: TCP/);
    assert.throws(() => process.kill(orphan, 0), { code: 'ESRCH' });
    assert.deepEqual(readdirSync(temporary), []);
    const [ran, ...left] = counts.trim().split('\n');
    assert.equal(ran, '1 0');
    assert.ok(left.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0) >= 4, counts);
  });
});
