import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { GUARDS } from './guards/list.ts';
import { findMarkers, replaceMarked } from './guards/markers.ts';
import { copyTree, ROOT, runTest, without } from './guards/trial.ts';

/** Of these the whole trial runs in CI; of all the others `npm run guards` sees to it. */
const TRIED = ['host-generation', 'synchronised-before-dispatch'];

describe('the list of guards', () => {
  let markers: Awaited<ReturnType<typeof findMarkers>>;
  let tree: Awaited<ReturnType<typeof copyTree>>;
  before(async () => {
    [markers, tree] = await Promise.all([findMarkers(ROOT), copyTree()]);
  });
  after(() => tree.remove());

  it('has each marker of the product once', () => {
    assert.deepEqual(GUARDS.map(({ marker }) => marker).toSorted(), [...markers.keys()].toSorted());
  });

  for (const guard of GUARDS) {
    it(`knows the statement and the test of ${guard.marker}: ${guard.promise}`, async () => {
      const places = markers.get(guard.marker) ?? [];
      assert.equal(places.length, 1, `${guard.marker} is marked in: ${places.join(', ') || 'no file'}`);
      const spec = await readFile(join(ROOT, guard.spec), 'utf8');
      // A generated title is there with its variable part cut out.
      const pieces = guard.test.split(/[“”'’`,:]/);
      assert.ok(
        pieces.some((piece) => piece.length > 12 && spec.includes(piece)),
        `${guard.spec} has no test “${guard.test}”`,
      );
    });
  }

  for (const guard of GUARDS.filter(({ marker }) => TRIED.includes(marker))) {
    it(`fails a test without ${guard.marker}`, async function () {
      this.timeout(120_000);
      assert.equal((await runTest(guard, tree.path)).passed, true, 'it passes as things are');
      const broken = await without(guard, tree.path, () => runTest(guard, tree.path));
      assert.equal(broken.passed, false);
    });
  }
});

describe('a marked statement', () => {
  const replaced = (statement: string): string =>
    replaceMarked(`before();\n  // guard: it\n${statement}\n  after();`, 'it', (text) => `<${text.trim()}>`);

  for (const [title, statement] of [
    ['on one line', '  if (held) return;'],
    ['that the formatter has broken', '  const late =\n    first &&\n    second;'],
    ['with a block and its other branch', '  if (a) {\n    b();\n\n  } else {\n    c();\n  }'],
    ['of Lua', '  if a then\n    return 1\n  end'],
  ] as const) {
    it(`${title} is replaced as a whole`, () => {
      assert.equal(replaced(statement), `before();\n  // guard: it\n<${statement.trim()}>\n  after();`);
    });
  }

  it('is known by its whole name', () => {
    assert.throws(() => replaceMarked('// guard: item\nx();', 'it'), /no marker it/);
  });
});
