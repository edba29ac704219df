import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'mocha';
import { Database } from '../../src/database/database.ts';
import { jobStores } from '../../src/database/job-stores.ts';
import { scratch } from '../support/scratch.ts';
import { describeContract, PROMISES } from './contract.ts';

const directory = scratch();

describeContract('SQLite', async () => {
  const path = join(await directory.make(), 'db');
  const [first, second] = await Promise.all([Database.open({ path }), Database.open({ path })]);
  return {
    stores: jobStores(first),
    rival: jobStores(second),
    async close() {
      await first.close();
      await second.close();
    },
  };
});

it('what is assumed of the database is listed in the documentation, all of it and nothing else', () => {
  const page = readFileSync(new URL('../../docs/database.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| ([^|]+) \|/gm)].map(([, promise]) => promise);
  assert.deepEqual(
    rows.slice(1),
    PROMISES.map(([promise]) => promise),
  );
});
