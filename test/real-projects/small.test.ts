import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { buildAll } from './build.ts';
import { PROJECTS } from './projects.ts';

/** Two that need nothing but C; `npm run real-projects` builds them all. Their sources come from Debian's archive. */
const NAMES = ['cjson', 'lua5.4'];

describe('somebody’s project', () => {
  it('is built, tested and fetched by the first call of an agent', async function () {
    this.timeout(600_000);
    const problems = new Map<string, string | null>();
    await buildAll(
      PROJECTS.filter(({ name }) => NAMES.includes(name)),
      {
        sources: null,
        cpus: 2,
        memoryGb: 4,
        outcome: ({ name }, { problem }) => problems.set(name, problem),
      },
    );
    assert.deepEqual(
      problems,
      new Map([
        ['lua5.4', null],
        ['cjson', null],
      ]),
    );
  });
});
