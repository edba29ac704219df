import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { before, describe, it } from 'mocha';
import { identify } from '../../src/lifecycle/process-identity.ts';
import { SupervisedChild } from '../../bin/supervised-child.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { eventually } from '../support/eventually.ts';
import { scratch } from '../support/scratch.ts';

const FIXTURE = fileURLToPath(new URL('fixtures/child.ts', import.meta.url));
const logger = createLogger({ level: 'silent', role: 'test' });

describe('supervised child', () => {
  const directory = scratch();
  before(() => directory.make());

  const pids = (name: string): number[] => {
    try {
      return readFileSync(directory.path(name), 'utf8').trim().split('\n').map(Number);
    } catch {
      return [];
    }
  };
  const supervise = (mode: string, name: string): SupervisedChild =>
    new SupervisedChild({
      name,
      args: [FIXTURE, mode, directory.path(name)],
      env: () => process.env,
      logger,
    });

  it('is ready when it says so, and ends when it is stopped', async () => {
    const child = supervise('ready', 'orderly');
    assert.equal((await child.start()).url, 'http://127.0.0.1:1');
    const [pid = 0] = pids('orderly');
    await Promise.all([child.stop(), child.stop()]);
    assert.equal(identify(pid), null);
    assert.equal(pids('orderly').length, 1);
  });

  it('is started again whenever it dies', async () => {
    const child = supervise('ready', 'dying');
    await child.start();
    for (const times of [1, 2]) {
      process.kill(pids('dying').at(-1) ?? 0, 'SIGKILL');
      await eventually('there is another', () => pids('dying').length === times + 1);
    }
    await child.stop();
    assert.equal(identify(pids('dying').at(-1) ?? 0), null);
  });

  it('that is never ready is not tried again, and its exit code is told', async () => {
    const child = supervise('fails', 'hopeless');
    await assert.rejects(child.start(), /the hopeless ended with exit code 1/);
    assert.equal(pids('hopeless').length, 1);
    await child.stop();
  });

  it('that was replaced by a newer one elsewhere is given up', async () => {
    const child = supervise('replaced', 'replaced');
    await child.start();
    assert.match((await child.givenUp).message, /exit code 4/);
    assert.equal(pids('replaced').length, 1);
    await child.stop();
  });

  it('can be killed at once', async () => {
    const child = supervise('ready', 'killed');
    await child.start();
    child.kill();
    await child.stop();
    assert.equal(identify(pids('killed')[0] ?? 0), null);
  });
});
