import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { DiskRoom } from '../../processors/host-disk.ts';
import { HostRuntime } from '../../src/containers/podman/host-runtime.ts';
import { PodmanSandbox } from '../../src/containers/podman/sandbox/sandbox.ts';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { eventually } from '../support/eventually.ts';
import { type Farm, startFarm } from '../support/farm.ts';
import { texts } from '../support/http.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { type Stack, startStack } from '../support/stack.ts';

/** The steps of every sandbox, to be replaced for a while. */
const SANDBOX = PodmanSandbox.prototype as {
  [Step in 'bind' | 'start' | 'waitForExit']: (
    this: PodmanSandbox,
    ...given: Parameters<PodmanSandbox[Step]>
  ) => ReturnType<PodmanSandbox[Step]>;
};

/** What a host says of its disk. */
const DISK = DiskRoom.prototype as {
  [Look in 'measure' | 'isFull']: (this: DiskRoom) => ReturnType<DiskRoom[Look]>;
};

/** Faults between two steps of a supervision: each is made to happen at exactly that step. */
describe('a supervision', () => {
  let farm: Farm;
  before(async () => {
    farm = await startFarm({ minuteMs: 1_000, config: { graceSeconds: 1, jobDiskMb: 64 } });
  });
  after(async () => {
    await farm.stop();
  });

  it('that dies after a failed start, its reservation given back and the row not written, is finished by the next', async () => {
    const { store } = farm;
    const real = store.transition.bind(store);
    const { bind } = SANDBOX;
    let refused = 0;
    store.transition = async (id, transition) => {
      if (transition.to !== 'failed') return real(id, transition);
      refused += 1;
      throw new Error('the database is locked');
    };
    try {
      SANDBOX.bind = () => Promise.reject(new FlashpodsError('container_start_failed', 'no'));
      const { id } = await farm.submit({ command: 'true' });
      await eventually(
        'the job is about to fail, without a reservation',
        async () => refused > 0 && (await farm.queues.semaphore.view()).reservations.length === 0,
      );
      await farm.replaceWorker();
      store.transition = real;
      const job = await farm.ended(id);
      assert.deepEqual([job.status, job.error, job.host], ['failed', 'container_start_failed', 'farm']);
    } finally {
      store.transition = real;
      SANDBOX.bind = bind;
    }
  });

  it('that finds its reservation gone gives the job back, and goes on trying while the queue does not take it', async () => {
    const { queues, journal } = farm;
    const queue = queues.queue;
    const [withdraw, enqueue] = [queue.withdraw.bind(queue), queue.enqueue.bind(queue)];
    let refused = 0;
    // Right after the dispatcher's step "out of intake": the reservation goes before the host has claimed it.
    queue.withdraw = async (jobId) => {
      await withdraw(jobId);
      if (!(await queues.semaphore.revoke(jobId, 1))) return;
      queue.withdraw = withdraw;
      queue.enqueue = async () => {
        refused += 1;
        if (refused > 2) queue.enqueue = enqueue;
        throw new FlashpodsError('service_unavailable', 'The queue did not answer.');
      };
    };
    try {
      const blocker = await farm.submit({ command: 'exit 6' });
      const job = await farm.ended(blocker.id);
      assert.deepEqual([job.exitCode, job.epoch], [6, 2]);
      assert.ok(refused >= 2, `${refused}`);
      const events = await journal.read({ jobId: job.id, limit: 50 });
      assert.equal(
        events.filter((e) => e.type === 'given_back' && e.payload.reason === 'no_reservation').length,
        1,
      );
    } finally {
      Object.assign(queue, { withdraw, enqueue });
    }
  });

  it('that finds the disk filled by others since it was reserved lets the job wait again', async () => {
    const { measure, isFull } = DISK;
    const { bind } = SANDBOX;
    let refused = 0;
    try {
      SANDBOX.bind = () => {
        refused += 1;
        SANDBOX.bind = bind;
        DISK.measure = () => ({ freeMib: -1, held: [] });
        DISK.isFull = () => true;
        return Promise.reject(new FlashpodsError('container_start_failed', 'no space left on device'));
      };
      const { id } = await farm.submit({ command: 'exit 6' });
      await eventually(
        'it waits again',
        async () => refused > 0 && (await farm.queries.get(id))?.status === 'queued',
      );
      Object.assign(DISK, { measure, isFull });
      const job = await farm.ended(id);
      assert.deepEqual([job.exitCode, job.epoch], [6, 2]);
      const events = await farm.journal.read({ jobId: id, limit: 50 });
      assert.equal(events.filter((e) => e.type === 'given_back' && e.payload.reason === 'no_room').length, 1);
    } finally {
      Object.assign(DISK, { measure, isFull });
      SANDBOX.bind = bind;
    }
  });

  it('that meets a mistake of ours fails loudly instead of trying for ever', async () => {
    const { store } = farm;
    const real = store.decideEnding.bind(store);
    let asked = 0;
    store.decideEnding = async (...given) => {
      asked += 1;
      if (asked > 1) return real(...given);
      throw new TypeError('x is not a function');
    };
    try {
      const { id } = await farm.submit({ command: 'exit 8' });
      await eventually('it has failed', () => asked > 0);
      // The next reconciliation takes the job over from what is there.
      assert.equal((await farm.ended(id)).exitCode, 8);
    } finally {
      store.decideEnding = real;
    }
  });

  type Steps = Record<string, (...given: unknown[]) => Promise<unknown>>;
  const steps: readonly [name: string, owner: object, method: string][] = [
    ['ensureImage', HostRuntime.prototype, 'ensureImage'],
    ['create', SANDBOX, 'bind'],
    ['start', SANDBOX, 'start'],
  ];
  for (const [step, owner, method] of steps) {
    it(`goes on when Podman did not answer though it did what was asked: ${step}`, async () => {
      const methods = owner as Steps;
      const real = methods[method];
      assert.ok(real);
      let asked = 0;
      methods[method] = async function (...given) {
        const answer = await real.apply(this, given);
        asked += 1;
        if (asked === 1) throw new FlashpodsError('container_error', 'Podman did not answer');
        return answer;
      };
      try {
        const job = await farm.run({ command: 'echo once; exit 5' });
        assert.deepEqual([job.exitCode, asked], [5, 2]);
        assert.deepEqual(await farm.texts(job.id), ['once']);
      } finally {
        methods[method] = real;
      }
    });
  }

  it('counts the timeout from the start of the container, though it died before it could write it down', async () => {
    const { runtime } = farm;
    const { start, waitForExit } = SANDBOX;
    let detach: AbortSignal | undefined;
    SANDBOX.waitForExit = function (signal) {
      detach = signal;
      return waitForExit.call(this, signal);
    };
    const other = await farm.submit({ command: 'sleep 60' });
    await eventually('another job is followed', () => detach);
    const answered = Promise.withResolvers<void>();
    SANDBOX.start = async function () {
      await start.call(this);
      await answered.promise;
    };
    try {
      const { id } = await farm.submit({ command: 'sleep 60', timeout_minutes: 4 });
      const startedAt = await eventually('three of its four minutes are over', async () => {
        const state = await (await runtime.find(id, 1))?.inspect();
        return state?.startedAt && Date.now() - state.startedAt > 3_000 ? state.startedAt : null;
      });
      const replaced = farm.replaceWorker();
      await eventually('the worker lets go', () => detach?.aborted);
      SANDBOX.start = start;
      answered.resolve();
      await replaced;
      const job = await farm.ended(id);
      assert.equal(job.status, 'timed_out');
      assert.ok((job.endedAt ?? 0) - startedAt < 6_000, `${(job.endedAt ?? 0) - startedAt} ms`);
    } finally {
      Object.assign(SANDBOX, { start, waitForExit });
      answered.resolve();
      await farm.jobs.cancel(other.id, null);
    }
  });

  it('is told by the next reconciliation of a cancellation whose announcement was lost', async () => {
    const { queries, queues } = farm;
    const { id } = await farm.submit({ command: 'sleep 60' });
    await eventually('it runs', async () => (await queries.get(id))?.status === 'running');
    const announce = queues.announcements.announce.bind(queues.announcements);
    queues.announcements.announce = () => undefined;
    try {
      await farm.jobs.cancel(id, null);
      const asked = Date.now();
      const job = await farm.ended(id);
      assert.equal(job.status, 'cancelled');
      assert.ok((job.endedAt ?? 0) - asked < farm.config.reconcileSeconds * 1_000 + 1_500);
    } finally {
      queues.announcements.announce = announce;
    }
  });

  it('never repeats a request to start that Podman may have begun', async () => {
    const dir = await temporaryDirectory();
    const seen: string[] = [];
    const podman = createServer((request, response) => {
      seen.push(request.method ?? '');
      if (request.method === 'POST') request.socket.destroy();
      else response.end('{}');
    });
    const socket = join(dir.path, 'podman.sock');
    await new Promise<void>((resolve) => podman.listen(socket, resolve));
    const client = new PodmanClient(socket);
    try {
      await client.call('GET', '/containers/x/json'); // so that the next one goes over a kept connection
      await assert.rejects(client.call('POST', '/containers/x/start'), { code: 'container_error' });
      assert.deepEqual(seen, ['GET', 'POST']);
    } finally {
      client.close();
      podman.close();
      await dir.remove();
    }
  });
});

/** A second process under the name of a host whose first one lives. */
describe('a worker that is replaced while it lives', () => {
  const HOST = { name: 'replaced', cpus: 4, memoryGb: 8 };
  let stack: Stack;
  before(async () => {
    stack = await startStack({
      workers: [HOST],
      // Nobody may have to wait for a heartbeat.
      env: { FLASHPODS_HEARTBEAT_SECONDS: '20', FLASHPODS_LEASE_SECONDS: '60' },
    });
  });
  after(async () => {
    await (stack as Stack | undefined)?.stop();
  });

  const printed = async (id: string): Promise<string[]> => texts(await stack.caller.output(id));
  const lines = (count: number): string[] => Array.from({ length: count }, (_, index) => `line ${index + 1}`);
  /** Prints fast, so that a reader is always a little behind, and leaves many artifacts. */
  const command = (count: number): string =>
    `mkdir /artifacts/d; for i in $(seq 1 200); do echo x > /artifacts/d/$i; done
     i=0; while [ $i -lt ${count} ]; do i=$((i+1)); echo line $i; [ $((i%5)) = 0 ] && sleep 0.005; done; true`;

  it('lets go at once, and every job is settled once: its log whole, its artifacts collected', async () => {
    const ids = await Promise.all([1, 2, 3].map(() => stack.caller.submit(command(6_000))));
    for (const id of ids) await eventually(`${id} prints`, async () => (await printed(id)).length > 5);
    const old = stack.worker(HOST.name);
    await stack.startWorker(HOST);
    assert.equal((await old.exited).code, 4);
    for (const id of ids) {
      const job = await stack.caller.ended(id);
      assert.deepEqual([job.status, job.error], ['completed', null]);
      assert.deepEqual(await printed(id), lines(6_000));
      const { body } = await stack.caller.json<{ artifacts: unknown[] }>('GET', `/jobs/${id}/artifacts`);
      assert.equal(body.artifacts.length, 200);
    }
  });

  it('and was stopped meanwhile, changes nothing of what its successor has finished', async () => {
    const id = await stack.caller.submit(command(500));
    await eventually('it prints', async () => (await printed(id)).length > 5);
    const old = stack.worker(HOST.name);
    old.kill('SIGSTOP');
    await stack.startWorker(HOST);
    assert.equal((await stack.caller.ended(id)).status, 'completed');
    assert.equal((await old.exited).signal, 'SIGKILL', 'nobody knows where it would have gone on');
    assert.deepEqual(await printed(id), lines(500));
    assert.equal((await stack.caller.job(id)).status, 'completed');
  });

  it('leaves nothing reserved', async () => {
    await eventually(
      'nothing is reserved',
      async () => (await stack.queues.semaphore.view()).reservations.length === 0,
    );
    assert.deepEqual(await stack.queues.semaphore.audit(), []);
  });
});
