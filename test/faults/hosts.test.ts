import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { stateOf } from '../../queues/semaphore/farm-view.ts';
import { containerName } from '../../src/ids.ts';
import type { HostState } from '../../src/jobs/ports.ts';
import { eventually } from '../support/eventually.ts';
import { removeContainer } from '../support/podman-ps.ts';
import { checkAftermath, type Expected } from './harness/aftermath.ts';
import { Cable } from './harness/cable.ts';
import { freeze } from './harness/freeze.ts';
import { isHeld } from './harness/plan.ts';
import { type FaultScene, startScene, type SubmittedJob } from './harness/scene.ts';

const LEFT = { name: 'left', cpus: 2, memoryGb: 2 };
const RIGHT = { name: 'right', cpus: 2, memoryGb: 2 };

describe('hosts that fail', () => {
  let scene: FaultScene;
  let cable: Cable;
  const expected = new Map<string, Expected>();

  before(async () => {
    scene = await startScene({
      hosts: [LEFT, RIGHT],
      started: [],
      env: {
        FLASHPODS_LEASE_SECONDS: '3',
        FLASHPODS_HOST_LOST_SECONDS: '20',
        FLASHPODS_RECONCILE_SECONDS: '1',
        FLASHPODS_GRACE_SECONDS: '4',
      },
    });
    cable = await Cable.lay(join(scene.dir, 'run', 'redis.sock'), join(scene.dir, 'run', 'cable.sock'));
    await Promise.all([startLeft(), scene.startWorker(RIGHT)]);
    for (const { name } of scene.hosts) await scene.drain(name, true);
  });
  after(async () => {
    cable.cut();
    await scene.stop();
  });

  const startLeft = (): Promise<unknown> =>
    scene.startWorker(LEFT, undefined, { FLASHPODS_REDIS_URL: cable.url });
  const untilState = (name: string, state: HostState): Promise<unknown> =>
    eventually(`${name} is ${state}`, async () => {
      const host = (await scene.queues.semaphore.view()).hosts.find((each) => each.name === name);
      return host && stateOf(host) === state;
    });
  const aftermath = (): ReturnType<typeof checkAftermath> => checkAftermath(scene, { expected });

  it('a dispatch that comes to the same worker twice runs once', async () => {
    const job = await scene.submitTo(LEFT.name, { gated: true, exitCode: 3 });
    const queue = scene.queues.queues.run(LEFT.name);
    // What BullMQ does when a lock was lost: the same dispatch, handed out while the first is under way.
    const again = await queue.add('dispatch', { jobId: job.id, epoch: 1 }, { jobId: `${job.id}-1-again` });
    await job.told.hasBegun();
    await eventually('it was picked up', async () => (await again.getState()) === 'active');
    job.told.open();
    await eventually('both pickups have ended', async () => (await again.getState()) === 'completed');
    const entry = await queue.getJob(again.id ?? '');
    assert.deepEqual(entry?.returnvalue, { status: 'done', exitCode: 3 }, 'the second has joined the first');
    await aftermath();
  });

  it('of two workers with one host name the newer takes over, and the older leaves with the status that says so', async () => {
    const older = scene.stack.worker(RIGHT.name);
    const jobs: SubmittedJob[] = [];
    for (const exitCode of [0, 4]) jobs.push(await scene.submitTo(RIGHT.name, { gated: true, exitCode }));
    for (const { told } of jobs) await told.hasBegun();
    await scene.startWorker(RIGHT);
    assert.deepEqual(await older.exited, { code: 4, signal: null });
    for (const { told } of jobs) told.open();
    await aftermath();
  });

  it('SIGTERM with live containers: the worker leaves, they run on, and its successor ends them', async () => {
    const jobs: SubmittedJob[] = [];
    for (const exitCode of [0, 6]) jobs.push(await scene.submitTo(RIGHT.name, { gated: true, exitCode }));
    for (const { told } of jobs) await told.hasBegun();
    const { code } = await scene.stack.worker(RIGHT.name).end('SIGTERM');
    assert.equal(code, 0);
    const left = (await scene.queues.semaphore.view()).hosts.find((each) => each.name === RIGHT.name);
    assert.equal(left?.leaseLive, false, 'nothing is sent there any more');
    assert.equal(scene.ledger.alive().length, 2);
    jobs[0]?.told.open(); // one ends while nobody looks, one runs on
    await eventually('one has ended', () => jobs[0]?.told.ended);
    await scene.startWorker(RIGHT);
    jobs[1]?.told.open();
    await aftermath();
  });

  it('a host cut off from Redis past its lease gets nothing new, ends what it has, and takes work again', async () => {
    const held = await scene.submitTo(LEFT.name, { gated: true, exitCode: 5, cpus: 2, memoryGb: 2 });
    await held.told.hasBegun();
    cable.cut();
    await untilState(LEFT.name, 'suspect');
    held.told.open();
    await eventually('its job ends all the same', async () => {
      const row = await scene.stack.caller.job(held.id);
      return row.exit_code === 5;
    });
    const waiting = await scene.submit({ cpus: 2, memoryGb: 2 });
    await cable.mend();
    await scene.drain(LEFT.name, false);
    await waiting.told.hasBegun();
    await scene.drain(LEFT.name, true);
    await aftermath();
  });

  it('a host away past the time when it counts as lost kills what is no longer its own before it takes anything new', async () => {
    const lost = await scene.submitTo(LEFT.name, { gated: true, deaf: true, cpus: 2, memoryGb: 2 });
    await lost.told.hasBegun();
    expected.set(lost.id, { status: 'failed', error: 'host_lost', exitCode: null });
    const worker = scene.stack.worker(LEFT.name);
    await freeze(scene.dir, worker);
    await untilState(LEFT.name, 'lost');
    await eventually(
      'its job is lost',
      async () => (await scene.stack.caller.job(lost.id)).status === 'failed',
    );
    assert.deepEqual(
      scene.ledger.alive().map((each) => each.slot),
      [lost.told.slot],
      'nobody has ended its container yet',
    );
    // It needs all of that host: if it began beside the other, the ledger would hold more than there is.
    await scene.drain(LEFT.name, false);
    const next = await scene.submit({ cpus: 2, memoryGb: 2 });
    worker.kill('SIGCONT');
    await next.told.hasBegun();
    assert.ok(!lost.told.ended, 'it was killed');
    await scene.drain(LEFT.name, true);
    await aftermath();
  });

  it('a job that was given up with its host while it started there never begins', async () => {
    await scene.stack.worker(LEFT.name).end();
    const hold = join(scene.dir, 'owning');
    const sleeper = await scene.startWorker(LEFT, {
      faults: [{ at: 'Semaphore.beat', when: 'before', do: { hold } }],
    });
    const lost = await scene.submitTo(LEFT.name);
    expected.set(lost.id, { status: 'failed', error: 'host_lost', exitCode: null });
    await isHeld(hold);
    await freeze(scene.dir, sleeper);
    await untilState(LEFT.name, 'lost');
    await eventually('it is lost', async () => (await scene.stack.caller.job(lost.id)).status === 'failed');
    writeFileSync(hold, '');
    sleeper.kill('SIGCONT');
    await untilState(LEFT.name, 'draining');
    await aftermath();
    assert.equal(lost.told.begun.length, 0);
    await scene.stack.worker(LEFT.name).end();
    await startLeft();
  });

  it('a worker that starts kills what is no longer its own before it takes anything new', async () => {
    const lost = await scene.submitTo(LEFT.name, { gated: true, cpus: 2, memoryGb: 2 });
    await lost.told.hasBegun();
    expected.set(lost.id, { status: 'failed', error: 'host_lost', exitCode: null });
    await scene.stack.worker(LEFT.name).end('SIGKILL');
    await untilState(LEFT.name, 'lost');
    await eventually(
      'its job is lost',
      async () => (await scene.stack.caller.job(lost.id)).status === 'failed',
    );
    await scene.drain(LEFT.name, false);
    const next = await scene.submit({ cpus: 2, memoryGb: 2 });
    await startLeft();
    await next.told.hasBegun();
    await scene.drain(LEFT.name, true);
    await aftermath();
  });

  it('a dispatch that was taken back while its host slept is not started there', async () => {
    await scene.stack.worker(LEFT.name).end();
    const hold = join(scene.dir, 'claiming');
    const sleeper = await scene.startWorker(LEFT, {
      faults: [{ at: 'Semaphore.claim', when: 'before', do: { hold } }],
    });
    const job = await scene.submitTo(LEFT.name, { gated: true, exitCode: 2 });
    await isHeld(hold);
    await freeze(scene.dir, sleeper);
    await scene.drain(RIGHT.name, false);
    await job.told.hasBegun();
    await scene.drain(RIGHT.name, true);
    writeFileSync(hold, '');
    sleeper.kill('SIGCONT');
    await untilState(LEFT.name, 'draining');
    job.told.open();
    await aftermath();
  });

  it('a dispatch whose reservation was taken back before the claim goes back to the queue', async () => {
    await scene.stack.worker(RIGHT.name).end();
    const hold = join(scene.dir, 'revoked');
    await scene.startWorker(RIGHT, { faults: [{ at: 'Semaphore.claim', when: 'before', do: { hold } }] });
    const { id } = await scene.submitTo(RIGHT.name, { exitCode: 1 });
    await isHeld(hold);
    assert.ok(await scene.queues.semaphore.revoke(id, 1));
    writeFileSync(hold, '');
    await scene.drain(RIGHT.name, false);
    const { states } = await aftermath();
    await scene.drain(RIGHT.name, true);
    const twice = ['queued', 'starting', 'queued', 'starting', 'running', 'failed'];
    assert.deepEqual(states.get(id), twice);
  });

  it('a reservation is held until the container is gone', async () => {
    await scene.stack.worker(RIGHT.name).end();
    const hold = join(scene.dir, 'removing');
    await scene.startWorker(RIGHT, {
      faults: [{ at: 'PodmanSandbox.remove', when: 'before', do: { hold } }],
    });
    const { id } = await scene.submitTo(RIGHT.name);
    await isHeld(hold);
    for (let look = 0; look < 20; look += 1) {
      const { reservations } = await scene.queues.semaphore.view();
      assert.ok(reservations.some((each) => each.jobId === id));
    }
    writeFileSync(hold, '');
    await aftermath();
  });

  it('a container that somebody removed while its worker was dead is not run a second time', async () => {
    await scene.stack.worker(RIGHT.name).end();
    const dying = await scene.startWorker(RIGHT, {
      faults: [{ at: 'PodmanSandbox.start', when: 'after', do: 'SIGKILL' }],
    });
    const job = await scene.submitTo(RIGHT.name, { gated: true });
    await dying.exited;
    await job.told.hasBegun();
    assert.equal(await removeContainer(scene.podmanSocket, containerName(job.id, 1)), 200);
    job.told.open();
    expected.set(job.id, { status: 'failed', error: 'container_not_found_on_recovery', exitCode: null });
    await scene.startWorker(RIGHT);
    await aftermath();
  });

  it('after a reboot `Exited (0)` without an end is lost, and an exit that was seen counts', async () => {
    const torn = await scene.submitTo(RIGHT.name, { gated: true });
    const seen = await scene.submitTo(RIGHT.name, { gated: true, exitCode: 7 });
    for (const { told } of [torn, seen]) await told.hasBegun();
    await scene.stack.worker(RIGHT.name).end('SIGKILL');
    for (const { told } of [torn, seen]) told.open();
    await eventually('both have ended', () => torn.told.ended && seen.told.ended);
    expected.set(torn.id, { status: 'failed', error: 'container_lost_on_recovery', exitCode: null });
    await scene.startWorker(RIGHT, {
      bootId: '00000000-0000-4000-8000-000000000000',
      faults: [
        {
          at: 'PodmanSandbox.inspect',
          when: 'after',
          nth: 0,
          containing: [torn.id],
          do: { amend: { phase: 'exited', exitCode: 0, finishedAt: null } },
        },
      ],
    });
    await aftermath();
  });

  it('queue entries that dead workers held are cleared away once their locks have ended, and nothing runs again', async () => {
    const queue = scene.queues.queues.run(RIGHT.name);
    const held = await queue.getRanges(['active'], 0, -1);
    assert.ok(held.length > 0, 'the workers that were killed above have left some');
    // As two minutes would do.
    const locks = held.map((id) => `${queue.opts.prefix}:${queue.name}:${id}:lock`);
    await scene.queues.connection.del(...locks);
    await eventually(
      'they are completed',
      async () => {
        const left = new Set(await queue.getRanges(['active', 'wait'], 0, -1));
        return held.every((id) => !left.has(id));
      },
      { timeoutMs: 60_000 },
    );
    await aftermath();
  });
});
