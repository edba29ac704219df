import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { persist } from '../../processors/persist.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { assertTransition } from '../../src/jobs/states.ts';
import { createLogger } from '../../src/observability/logger.ts';

const logger = createLogger({ level: 'silent', role: 'test' });
const never = new AbortController().signal;

describe('a step that must not be given up', () => {
  for (const [what, mistake] of [
    ['a TypeError', () => (null as unknown as { x: () => void }).x()],
    ['a failed assertion', () => assert.equal(1, 2)],
    ['a transition that the table does not hold', () => assertTransition('completed', 'running')],
  ] as const) {
    it(`ends with ${what}, which trying again would only hide`, async () => {
      let tries = 0;
      const work = async (): Promise<void> => {
        tries += 1;
        await Promise.resolve();
        mistake();
      };
      await assert.rejects(persist('it', logger, never, work));
      assert.equal(tries, 1);
    });
  }

  it('is tried until the resource is back', async () => {
    let tries = 0;
    const work = async (): Promise<number> => {
      tries += 1;
      await Promise.resolve();
      if (tries < 3) throw new FlashpodsError('database_error');
      return tries;
    };
    assert.equal(await persist('it', logger, never, work), 3);
  });
});
