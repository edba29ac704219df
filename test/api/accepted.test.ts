import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { startStack, type Stack } from '../support/stack.ts';

const BURST = 200;

describe('an accepted job', () => {
  let stack: Stack;
  before(async () => {
    stack = await startStack({ workers: [] });
  });
  after(() => stack.stop());

  it('survives a kill -9 of the API in the middle of a crowd that shares its transactions', async () => {
    const accepted: string[] = [];
    let killed = false;
    await Promise.all(
      Array.from({ length: BURST }, async () => {
        try {
          accepted.push(await stack.caller.submit('true'));
        } catch {
          return; // not answered: it may be there or not
        }
        if (accepted.length < BURST / 4 || killed) return;
        killed = true;
        stack.api.kill('SIGKILL');
      }),
    );
    await stack.api.exited;
    assert.ok(accepted.length >= BURST / 4 && accepted.length < BURST, `${accepted.length} were accepted`);
    const caller = await stack.startApi();
    for (const id of accepted) {
      const { status, body } = await caller.json('GET', `/jobs/${id}`);
      assert.equal(status, 200);
      assert.match(String(body['status']), /^(pending|queued)$/);
    }
  });
});
