import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { GUARDS } from './guards/list.ts';
import { copyTree, occurrences, ROOT, runTest, without } from './guards/trial.ts';

/** Of these the whole trial runs in CI; of all the others `npm run guards` sees to it. */
const TRIED = [/^generation:/, /^synchronisation before dispatch:/];

describe('the list of guards', () => {
  let tree: Awaited<ReturnType<typeof copyTree>>;
  before(async () => {
    tree = await copyTree();
  });
  after(() => tree.remove());

  for (const guard of GUARDS) {
    it(`holds “${guard.name}” as the product and its test have it`, async () => {
      assert.equal(await occurrences(guard), 1, `${guard.file} holds its text not once`);
      const source = await readFile(join(ROOT, guard.spec), 'utf8');
      // A generated title is there with its variable part cut out.
      const pieces = guard.test.split(/[“”'’`,:]/);
      assert.ok(
        pieces.some((piece) => piece.length > 12 && source.includes(piece)),
        `${guard.spec} has no test “${guard.test}”`,
      );
    });
  }

  for (const guard of GUARDS.filter(({ name }) => TRIED.some((tried) => tried.test(name)))) {
    it(`${guard.name}: its test fails without it`, async function () {
      this.timeout(120_000);
      assert.equal((await runTest(guard, tree.path)).passed, true, 'it passes as things are');
      const broken = await without(guard, tree.path, () => runTest(guard, tree.path));
      assert.equal(broken.passed, false);
    });
  }
});
