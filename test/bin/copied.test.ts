import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { after, afterEach, before, describe, it } from 'mocha';
import { findLocalServer } from '../../src/client/local-server.ts';
import { isAlive } from '../../src/lifecycle/process-identity.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { UpInstallation } from '../support/up-installation.ts';

const RUNNING = 'sleep 3000';

describe('a copy of a data directory', function () {
  this.timeout(300_000); // several installations start one after the other
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let original: UpInstallation;
  let copy: UpInstallation;
  let round = 0;

  before(async () => {
    directory = await temporaryDirectory();
  });
  after(() => directory.remove());
  afterEach(async () => {
    await copy.end();
    // Taken up again, what still runs is ended in order.
    if (original.up === null) await original.start();
    const { body } = await original.caller.json<{ jobs: { id: string }[] }>('GET', '/jobs?status=running');
    for (const { id } of body.jobs) await endsOnlyNow(original, id);
    await original.end();
  });

  async function begin(): Promise<string> {
    round += 1;
    original = new UpInstallation(directory.path, `a${round}`);
    copy = new UpInstallation(directory.path, `b${round}`);
    await original.start();
    const id = await original.caller.submit(RUNNING);
    await original.caller.reached(id, ['running']);
    return id;
  }
  /** It runs in its container until somebody cancels it: nobody else has ended it. */
  async function endsOnlyNow({ caller }: UpInstallation, id: string): Promise<void> {
    assert.equal((await caller.json('GET', `/jobs/${id}`)).body['status'], 'running');
    await caller.json('DELETE', `/jobs/${id}`);
    assert.equal((await caller.ended(id)).status, 'cancelled');
  }
  const makeCopy = async (): Promise<void> => void (await execa('cp', ['-a', original.data, copy.data]));

  it('is refused while the original runs, which goes on as if nothing had been', async () => {
    const id = await begin();
    const parts = original.parts;
    await makeCopy();
    assert.equal(findLocalServer(join(copy.data, 'run')), null, 'no client of the copy reaches the original');
    assert.equal((await copy.launch().exited).code, 2);
    assert.match(
      readFileSync(copy.log, 'utf8'),
      new RegExp(
        `copy of an installation that still runs \\(pid ${original.up?.pid}\\)[^]*FLASHPODS_DATA_DIR`,
      ),
    );
    assert.deepEqual(original.parts, parts);
    assert.ok(parts.every(isAlive));
    await endsOnlyNow(original, id);
    const next = await original.caller.ended(await original.caller.submit('exit 3'));
    assert.equal(next.exit_code, 3);
  });

  it('gets an id of its own once the original has ended; then both run side by side, and the original adopts its job', async () => {
    const id = await begin();
    await original.end();
    await makeCopy();
    await copy.start();
    const lost = await copy.caller.ended(id);
    assert.equal(lost.error, 'container_lost_on_recovery');
    const parts = copy.parts;
    await original.start();
    assert.deepEqual(copy.parts, parts);
    const [ofOriginal, ofCopy] = await Promise.all(
      [original, copy].map(async ({ caller }) => caller.ended(await caller.submit('exit 4'))),
    );
    assert.deepEqual([ofOriginal?.exit_code, ofCopy?.exit_code], [4, 4]);
    assert.ok([...parts, ...original.parts].every(isAlive));
    await endsOnlyNow(original, id);
  });

  it('leaves the Redis alone that an original left which was killed', async () => {
    await begin();
    const redis = original.recorded('redis/redis.pid');
    const children = ['api', 'worker'].map((name) => original.recorded('run/children.json', name));
    await original.end('SIGKILL');
    await eventually('the children have ended', () => !children.some(isAlive));
    await makeCopy();
    await copy.start();
    await copy.end();
    assert.ok(isAlive(redis));
    await original.start();
    assert.deepEqual(original.recorded('redis/redis.pid'), redis);
  });

  it('may not share its run directory with the original either', async () => {
    await begin();
    const { exited } = copy.launch({ FLASHPODS_RUN_PATH: join(original.data, 'run') });
    assert.equal((await exited).code, 2);
    assert.match(
      readFileSync(copy.log, 'utf8'),
      /another `flashpods up` \(pid \d+\) uses [^]*FLASHPODS_RUN_PATH/,
    );
    copy.up = null;
  });
});
