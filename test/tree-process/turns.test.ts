import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { inNameOf, Turns } from '../../src/tree-process/turns.ts';

describe('turns of tree processes', () => {
  it('are half of them one owner’s at most, and no owner waits for the large trees of another', async () => {
    const turns = new Turns(4);
    const begun: string[] = [];
    const ends: (() => void)[] = [];
    const take = (owner: string): Promise<void> =>
      inNameOf(owner, () =>
        turns.take(async () => {
          begun.push(owner);
          await new Promise<void>((resolve) => ends.push(resolve));
        }),
      );
    const all = [take('a'), take('a'), take('a'), take('a'), take('b'), take('c'), take('c')];
    const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    await settle();
    assert.deepEqual(begun, ['a', 'a', 'b', 'c']);
    ends.shift()?.();
    await settle();
    assert.deepEqual(begun, ['a', 'a', 'b', 'c', 'a']);
    for (let next = ends.shift(); next; next = ends.shift()) {
      next();
      await settle();
    }
    await Promise.all(all);
    assert.equal(begun.length, 7);
  });

  it('go on after what fails, and one at a time is one at a time', async () => {
    const turns = new Turns(1);
    await assert.rejects(
      turns.take(() => Promise.reject(new Error('it failed'))),
      /it failed/,
    );
    assert.equal(await turns.take(() => Promise.resolve(1)), 1);
  });
});
