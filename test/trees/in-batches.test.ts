import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { inBatches } from '../../src/trees/in-batches.ts';

describe('work in batches', () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  beforeEach(() => process.on('unhandledRejection', note));
  afterEach(() => process.off('unhandledRejection', note));

  it('fails with the first error, which is nobody else’s even if the next item takes long', async () => {
    async function* items(): AsyncGenerator<number> {
      yield 1;
      await delay(20);
      yield 2;
    }
    const done: number[] = [];
    const work = async (item: number): Promise<void> => {
      done.push(item);
      if (item === 1) throw new Error('one');
      await delay(1);
    };
    await assert.rejects(inBatches(items(), work), /one/);
    await delay(1);
    assert.deepEqual(done, [1, 2]);
    assert.deepEqual(unhandled, []);
  });
});
