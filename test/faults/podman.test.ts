import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { checkAftermath } from './harness/aftermath.ts';
import { type FaultScene, startScene } from './harness/scene.ts';

const HOST = { name: 'podman', cpus: 4, memoryGb: 4 };

describe("Podman's service", () => {
  let scene: FaultScene;
  before(async () => {
    scene = await startScene({ hosts: [HOST] });
  });
  after(() => scene.stop());

  const servicePid = (): number => {
    const { pid } = scene.stack.podman;
    assert.ok(pid !== null);
    return pid;
  };

  it('killed again and again while jobs start, run and end: nothing of them is lost', async () => {
    const { podman } = scene.stack;
    const running = await scene.submit({ gated: true, exitCode: 2 });
    await running.told.hasBegun();
    for (let kill = 0; kill < 3; kill += 1) {
      for (const exitCode of [0, 1]) await scene.submit({ exitCode });
      const before = podman.restarts;
      process.kill(servicePid(), 'SIGKILL');
      if (kill === 1) running.told.open();
      await eventually('it runs again', () => podman.restarts > before && podman.pid !== null);
    }
    await checkAftermath(scene);
  });

  it('hung while jobs start, run and end: they wait for it, and nobody concludes anything', async () => {
    const ending = await scene.submit({ gated: true, exitCode: 3 });
    const running = await scene.submit({ gated: true, exitCode: 4 });
    for (const { told } of [ending, running]) await told.hasBegun();
    const pid = servicePid();
    process.kill(pid, 'SIGSTOP');
    try {
      const starting = await scene.submit({ exitCode: 5 });
      ending.told.open();
      await eventually('one has ended', () => ending.told.ended);
      await eventually(
        'one is to start',
        async () => (await scene.stack.caller.job(starting.id)).status === 'starting',
      );
      // A worker of which Podman's silence is all that it hears at its start.
      await scene.stack.worker(HOST.name).end('SIGKILL');
      scene.launchWorker(HOST);
      const { jobs } = await scene.stack.caller
        .json<{ jobs: { status: string }[] }>('GET', '/jobs?status=active')
        .then(({ body }) => body);
      assert.equal(jobs.length, 3);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    running.told.open();
    await checkAftermath(scene);
  });
});
