import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { runStorm } from './storm/storm.ts';
import { tableOf } from './storm/table.ts';
import { SEED } from '../support/seed.ts';

describe('a storm of kills', function () {
  this.timeout(600_000);
  it('of every kind of process loses no job, starts none twice and exceeds no capacity', async () => {
    const report = await runStorm({ jobs: 40, kills: 25, seed: SEED });
    process.stdout.write(`${tableOf(report, SEED)}\n`);
    assert.deepEqual(report.violations, []);
  });
});
