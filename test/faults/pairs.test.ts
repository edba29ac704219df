/** Two of a kind at once: APIs, and workers of which the one that led stood still while the other took its place. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { checkAftermath, type Expected } from './harness/aftermath.ts';
import { freeze } from './harness/freeze.ts';
import { type FaultScene, startScene } from './harness/scene.ts';
import { leader } from '../support/redis-state.ts';

const HOSTS = [
  { name: 'pair-a', cpus: 3, memoryGb: 3 },
  { name: 'pair-b', cpus: 3, memoryGb: 3 },
];

describe('two of a kind', () => {
  let scene: FaultScene;
  const expected = new Map<string, Expected>();
  before(async () => {
    scene = await startScene({
      hosts: HOSTS,
      env: { FLASHPODS_LEASE_SECONDS: '3', FLASHPODS_HOST_LOST_SECONDS: '60' },
    });
  });
  after(() => scene.stop());

  it('APIs: a job that is made at both with one key is one job, and each tells of what the other did', async () => {
    const first = scene.stack.caller;
    const second = await scene.stack.startApi();
    assert.notEqual(first.url, second.url);
    for (let round = 0; round < 8; round += 1) {
      const told = await scene.ledger.job();
      const request = { ...told.request, client_job_id: randomUUID() };
      const answers = await Promise.all(
        [first, second, first, second].map((caller) => caller.json('POST', '/jobs', request)),
      );
      assert.equal(new Set(answers.map(({ body }) => body['job_id'])).size, 1);
      assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 200, 201]);
    }
    const doomed = await scene.submit({ gated: true });
    await doomed.told.hasBegun();
    const hears = first.ended(doomed.id);
    assert.equal((await second.json('DELETE', `/jobs/${doomed.id}`)).status, 200);
    assert.equal((await hears).status, 'cancelled');
    expected.set(doomed.id, { status: 'cancelled' });
    await checkAftermath(scene, { expected });
  });

  it('leaders: one that stands still until the other has led, and then goes on, starts nothing twice', async () => {
    const { queues } = scene;
    const leading = async (): Promise<string> => ((await leader(queues)) ?? '').split('/')[0] ?? '';
    const name = await eventually('one leads', leading);
    const paused = scene.stack.worker(name);
    const running = await scene.submit({ gated: true });
    await running.told.hasBegun();
    const jobs = Array.from({ length: 12 }, (_, index) =>
      scene.submit({ cpus: 1 + (index % 3), script: 'sleep 0.2' }),
    );
    await Promise.all(jobs.slice(0, 6));
    await freeze(scene.dir, paused);
    try {
      await eventually('the other leads', async () => !['', name].includes(await leading()));
      await Promise.all(jobs);
      const late = await scene.submit();
      running.told.open();
      await eventually('the other starts jobs', () => late.told.ended, { timeoutMs: 60_000 });
    } finally {
      paused.kill('SIGCONT');
    }
    await scene.submit();
    await checkAftermath(scene, { expected });
  });
});
