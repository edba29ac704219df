import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { scratch } from './scratch.ts';
import { SEED } from './seed.ts';
import { comparable, makeTree, readTree, treeArbitrary } from './trees.ts';

describe('trees of tests', () => {
  const directory = scratch();

  it('are on the disk what their list says, to the nanosecond and the byte of a name', async () => {
    await directory.make();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(treeArbitrary(), async (nodes) => {
        const root = directory.path(`t${(run += 1)}`);
        await makeTree(root, nodes);
        assert.deepEqual(readTree(root), comparable(nodes));
      }),
      { numRuns: 15, seed: SEED },
    );
  });
});
