import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { checkAftermath } from './harness/aftermath.ts';
import { isHeld, isStopped } from './harness/plan.ts';
import { type FaultScene, startScene } from './harness/scene.ts';

const HOST = { name: 'twice', cpus: 2, memoryGb: 2 };

/** Two worker processes with one host name, the first of which sleeps at the worst moment. */
describe('a worker stopped between creating a container and starting it', () => {
  let scene: FaultScene;
  before(async () => {
    scene = await startScene({ hosts: [HOST], started: [] });
  });
  after(async () => {
    await (scene as FaultScene | undefined)?.stop();
  });

  it('never starts it when it is continued after its successor has run the job', async () => {
    const first = await scene.startWorker(HOST, {
      faults: [{ at: 'PodmanSandbox.start', when: 'before', do: 'SIGSTOP' }],
    });
    const job = await scene.submit({ exitCode: 3 });
    await isStopped(first.pid);
    // The container that has ended is still there: to start it now would be to run the job again.
    const release = join(scene.dir, 'release');
    const second = scene.launchWorker(HOST, {
      faults: [{ at: 'PodmanSandbox.remove', when: 'before', do: { hold: release } }],
    });
    await isHeld(release);
    first.kill('SIGCONT');
    const { signal } = await first.exited;
    await writeFile(release, '');
    assert.equal(signal, 'SIGKILL');
    const { begun } = await checkAftermath(scene);
    assert.equal(begun, 1);
    const row = await scene.stack.caller.job(job.id);
    assert.deepEqual([row.status, row.exit_code], ['failed', 3]);
    await second.end();
  });

  it('and one that acts, but slowly, lets go before its successor adopts', async () => {
    const release = join(scene.dir, 'slow');
    const slow = await scene.startWorker(HOST, {
      faults: [{ at: 'PodmanSandbox.start', when: 'before', do: { hold: release } }],
    });
    const job = await scene.submit({ exitCode: 4 });
    await isHeld(release);
    // Its successor waits for it; what it was about to do comes first.
    const next = scene.launchWorker(HOST);
    await eventually('the successor has registered', async () => {
      const [host] = (await scene.queues.semaphore.view()).hosts;
      return host && !host.synchronised;
    });
    assert.equal((await scene.stack.caller.job(job.id)).status, 'starting');
    await writeFile(release, '');
    assert.equal((await slow.exited).code, 4);
    await checkAftermath(scene);
    assert.equal((await scene.stack.caller.job(job.id)).exit_code, 4);
    await next.end();
  });
});
