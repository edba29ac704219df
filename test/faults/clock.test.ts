import assert from 'node:assert/strict';
import { globSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { checkAftermath, type Expected } from './harness/aftermath.ts';
import type { Plan } from './harness/plan.ts';
import { type FaultScene, startScene } from './harness/scene.ts';

const STAYS = { name: 'stays', cpus: 3, memoryGb: 3 };
const DIES = { name: 'dies', cpus: 1, memoryGb: 1 };
const HOUR_SECONDS = 3_600;

/**
 * API and workers by a clock that the test sets (libfaketime); the monotonic one goes on, as in a kernel. Redis under
 * libfaketime does not start; a Redis whose clock was set back is a case of `dispatchers.test.ts`.
 */
describe('a clock that is set back an hour', () => {
  let scene: FaultScene;
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  const setClock = (offsetSeconds: number): void => {
    const file = join(directory.path, 'clock');
    writeFileSync(`${file}.new`, `${offsetSeconds < 0 ? '' : '+'}${offsetSeconds}\n`);
    renameSync(`${file}.new`, file);
  };

  before(async () => {
    directory = await temporaryDirectory();
    setClock(0);
    const [library] = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1');
    assert.ok(library, 'libfaketime is needed: apt-get install faketime');
    const env = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: join(directory.path, 'clock'),
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      FAKETIME_DISABLE_SHM: '1',
    };
    scene = await startScene({ hosts: [STAYS, DIES], env });
  });
  after(async () => {
    await scene.stop();
    await directory.remove();
  });

  it('changes nothing for jobs that run, wait, or were left behind by a crash', async () => {
    const { semaphore } = scene.queues;
    for (const { name } of scene.hosts) await scene.drain(name, true);
    const expected = new Map<string, Expected>();

    const running = await scene.submitTo(STAYS.name, { gated: true, exitCode: 3 });
    const limited = await scene.submitTo(STAYS.name, { gated: true });
    await Promise.all([running.told.hasBegun(), limited.told.hasBegun()]);
    // Its row says `starting` with a time that will lie in the future.
    await scene.stack.worker(DIES.name).end();
    const dying = await scene.startWorker(DIES, {
      faults: [{ at: 'PodmanSandbox.bind', when: 'before', do: 'SIGKILL' }],
    });
    const left = await scene.submitTo(DIES.name, { exitCode: 4 });
    await dying.exited;
    const waiting = await scene.submit({ exitCode: 5 });

    setClock(-HOUR_SECONDS);
    await eventually('the API has the new time', async () => {
      const answer = await scene.stack.caller.fetch('/health');
      return Date.parse(answer.headers.get('date') ?? '') < Date.now() - (HOUR_SECONDS - 60) * 1_000;
    });

    // A worker that adopts: of a job's minute it knows how much is over, no matter what the clock says.
    const short: Plan = {
      faults: [
        {
          at: 'KnexJobQueries.get',
          when: 'after',
          nth: 0,
          containing: [limited.id],
          do: { amend: { timeoutMinutes: 2 / 60 } },
        },
      ],
    };
    await scene.stack.worker(STAYS.name).end('SIGKILL');
    await Promise.all([scene.startWorker(STAYS, short), scene.startWorker(DIES)]);
    expected.set(limited.id, { status: 'timed_out', exitCode: 143 });
    for (const { name } of scene.hosts) await scene.drain(name, false);
    running.told.open();
    await scene.submit({ exitCode: 6 });
    await checkAftermath(scene, { expected, timeoutMs: 40_000 });
    for (const { id } of [running, left, waiting, limited]) {
      const job = await scene.stack.caller.job(id);
      const runtime = job['duration_seconds'];
      assert.ok(typeof runtime === 'number' && runtime >= 0, JSON.stringify(job));
    }
    const { hosts } = await semaphore.view();
    assert.ok(hosts.every((host) => host.leaseLive && !host.lost));
  });
});
