import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { checkAftermath, type Expected } from './harness/aftermath.ts';
import { isHeld } from './harness/plan.ts';
import { type FaultScene, startScene } from './harness/scene.ts';

const HOST = { name: 'endings', cpus: 4, memoryGb: 4 };
/** Jobs that end at the moment at which they are cancelled. */
const RACES = 12;

describe('a job that is ended', () => {
  let scene: FaultScene;
  const expected = new Map<string, Expected | readonly Expected[]>();
  before(async () => {
    scene = await startScene({ hosts: [HOST] });
  });
  after(() => scene.stop());

  const cancel = async (id: string): Promise<number> =>
    (await scene.stack.caller.json('DELETE', `/jobs/${id}`)).status;
  const status = async (id: string): Promise<string> => (await scene.stack.caller.job(id)).status;
  const replaceWorker = async (plan: Parameters<FaultScene['startWorker']>[1]): Promise<void> => {
    await scene.stack.worker(HOST.name).end();
    await scene.startWorker(HOST, plan);
  };
  const never = { status: 'cancelled', exitCode: null } as const;
  const aftermath = (): ReturnType<typeof checkAftermath> => checkAftermath(scene, { expected });

  it('cancelled while `pending`, with Redis away, never starts', async () => {
    process.kill(scene.stack.redis.pid, 'SIGSTOP');
    try {
      const { id, told } = await scene.submit();
      assert.equal(await status(id), 'pending');
      assert.equal(await cancel(id), 200);
      expected.set(id, never);
      process.kill(scene.stack.redis.pid, 'SIGCONT');
      await aftermath();
      assert.deepEqual(told.begun, []);
    } finally {
      process.kill(scene.stack.redis.pid, 'SIGCONT');
    }
  });

  it('cancelled while `queued` never starts', async () => {
    await scene.drain(HOST.name, true);
    const { id, told } = await scene.submit();
    assert.equal(await status(id), 'queued');
    assert.equal(await cancel(id), 200);
    expected.set(id, never);
    await scene.drain(HOST.name, false);
    await aftermath();
    assert.deepEqual(told.begun, []);
  });

  for (const [title, at, when] of [
    ['before it is claimed', 'Semaphore.claim', 'before'],
    ['before its container is created', 'PodmanSandbox.bind', 'before'],
    ['before its container is started', 'PodmanSandbox.start', 'before'],
    ['when its container has just been started', 'PodmanSandbox.start', 'after'],
  ] as const) {
    it(`cancelled while \`starting\`, ${title}, never shows \`running\``, async () => {
      const hold = join(scene.dir, `${at}-${when}`);
      await replaceWorker({ faults: [{ at, when, do: { hold } }] });
      const { id, told } = await scene.submit({ gated: true });
      await isHeld(hold);
      assert.equal(await status(id), 'starting');
      assert.equal(await cancel(id), 200);
      expected.set(id, { status: 'cancelled' });
      writeFileSync(hold, '');
      const { states } = await aftermath();
      assert.ok(!told.ended);
      assert.deepEqual(states.get(id), ['queued', 'starting', 'cancelled']);
    });
  }

  it('cancelled while `running` ends within its grace', async () => {
    const { id, told } = await scene.submit({ gated: true });
    await told.hasBegun();
    await eventually('it runs', async () => (await status(id)) === 'running');
    assert.equal(await cancel(id), 200);
    expected.set(id, { status: 'cancelled', exitCode: 143 });
    await aftermath();
  });

  it('cancelled while its artifacts are collected, it has ended by itself already', async () => {
    const hold = join(scene.dir, 'collecting');
    await replaceWorker({ faults: [{ at: 'LocalArtifactStore.collect', when: 'before', do: { hold } }] });
    const { id } = await scene.submit({ exitCode: 9 });
    await isHeld(hold);
    await cancel(id);
    writeFileSync(hold, '');
    await aftermath();
    assert.equal((await scene.stack.caller.job(id)).exit_code, 9);
    await cancel(id); // and a terminal one stays what it is
    await aftermath();
  });

  it(`cancelled in the millisecond of its exit, ${RACES} times: one of both, and what it shows is true`, async () => {
    const jobs = await Promise.all(
      Array.from({ length: RACES }, () => scene.submit({ gated: true, exitCode: 5, lines: 4 })),
    );
    const outcomes = jobs.map(async ({ id, told }, index) => {
      await told.hasBegun();
      await eventually('it runs', async () => (await status(id)) === 'running');
      expected.set(id, [
        { status: 'failed', exitCode: 5 },
        { status: 'cancelled', exitCode: 5 },
        { status: 'cancelled', exitCode: 143 },
      ]);
      // The exit from well before the cancellation to well after it, in steps of 4 ms.
      const headStartMs = (RACES / 2 - index) * 4;
      const pause = new Promise((resume) => setTimeout(resume, Math.abs(headStartMs)));
      if (headStartMs > 0) {
        told.open();
        await pause;
        await cancel(id);
      } else {
        const asked = cancel(id);
        await pause;
        told.open();
        await asked;
      }
    });
    await Promise.all(outcomes);
    const { jobs: rows } = await aftermath();
    const own = new Set(jobs.map(({ id }) => id));
    for (const row of rows.filter((each) => own.has(each.id))) {
      assert.equal(row.status === 'cancelled', row.endingReason === 'cancel', JSON.stringify(row));
      // A container that came to its end by itself ended with its own code, no matter what was asked.
      const told = scene.ledger.of(row.id);
      if (row.exitCode === 5) assert.ok(told?.ended, JSON.stringify(row));
    }
  });

  it('times out while Redis is away', async () => {
    // Two seconds instead of a minute: all that measures the time is the product's own.
    const short = { amend: { timeoutMinutes: 2 / 60 } };
    await replaceWorker({ faults: [{ at: 'KnexJobQueries.get', when: 'after', nth: 0, do: short }] });
    const { id, told } = await scene.submit({ gated: true });
    await told.hasBegun();
    await eventually('it runs', async () => (await status(id)) === 'running');
    process.kill(scene.stack.redis.pid, 'SIGSTOP');
    try {
      expected.set(id, { status: 'timed_out', error: 'Job exceeded timeout limit', exitCode: 143 });
      await eventually('it has timed out', async () => (await status(id)) === 'timed_out');
      assert.equal(scene.ledger.alive().length, 0);
    } finally {
      process.kill(scene.stack.redis.pid, 'SIGCONT');
    }
    await aftermath();
  });
});
