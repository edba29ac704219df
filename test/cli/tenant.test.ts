import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type RunningApi, startApi } from '../api/running-api.ts';
import { finished } from './console.ts';

describe('flashpods tenant', () => {
  let api: RunningApi;
  before(async () => {
    api = await startApi({ tenantDefaults: { runningJobs: 8 } });
  });
  after(() => api.stop());

  const flashpods = (...args: string[]) =>
    finished(['tenant', ...args], { env: { FLASHPODS_URL: api.server.url, FLASHPODS_API_TOKEN: api.token } });

  it('sets, shows, lists and unsets what an owner may have', async () => {
    const set = await flashpods(
      'set',
      'builds',
      '--weight',
      '2',
      '--cpus',
      '16',
      '--running-jobs',
      'none',
      '--kept-mb',
      '500',
    );
    assert.deepEqual([set.exitCode, set.stderr], [0, '']);
    assert.match(set.stdout, /^OWNER +WEIGHT +RUNNING +CPUS +MEMORY GB +QUEUED +KEPT MB\n/);
    assert.match(set.stdout, /^builds +2 +0\/∞ +0\/16 +0\/∞ +0\/∞ +0\/500$/m);
    assert.match((await flashpods('list')).stdout, /^builds +2 /m);
    const shown = JSON.parse((await flashpods('show', 'builds', '--json')).stdout) as object;
    assert.deepEqual(shown, {
      owner: 'builds',
      weight: 2,
      limits: { running_jobs: null, cpus: 16, memory_gb: null, queued_jobs: null, kept_mb: 500 },
      used: { running_jobs: 0, cpus: 0, memory_gb: 0, queued_jobs: 0, kept_mb: 0 },
      overridden: true,
    });
    // What is left out gets the default again.
    assert.match((await flashpods('set', 'builds')).stdout, /^builds +1 +0\/8 +0\/∞ /m);
    assert.deepEqual(await flashpods('unset', 'builds'), {
      stdout: 'builds has the defaults\n',
      stderr: '',
      exitCode: 0,
    });
    const again = await flashpods('unset', 'builds');
    assert.equal(again.exitCode, 4);
    assert.match(again.stderr, /`flashpods tenant list` lists the owners/);
    assert.ok(!(await flashpods('list')).stdout.includes('builds'));
  });

  it('names what is no amount', async () => {
    const wrong = await flashpods('set', 'builds', '--cpus', '1.5');
    assert.equal(wrong.exitCode, 2);
    assert.match(wrong.stderr, /--cpus.*whole number from 0, or none/);
    assert.match((await flashpods('set', 'builds', '--weight', '0')).stderr, /--weight.*above 0/);
  });
});
