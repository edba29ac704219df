import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { checkAftermath } from './harness/aftermath.ts';
import { type FaultScene, startScene } from './harness/scene.ts';

const HOST = { name: 'patient', cpus: 4, memoryGb: 4 };
const LEASE_S = 3;
const HUNG_MS = 3 * LEASE_S * 1_000;

/** The service is stopped (SIGSTOP): its socket takes requests and answers none. */
describe('a Podman service that hangs for longer than the lease', () => {
  let scene: FaultScene;
  before(async () => {
    scene = await startScene({
      hosts: [HOST],
      env: { FLASHPODS_LEASE_SECONDS: String(LEASE_S), FLASHPODS_HOST_LOST_SECONDS: String(LEASE_S + 1) },
    });
  });
  after(async () => {
    await (scene as FaultScene | undefined)?.stop();
  });

  /** Runs `meanwhile` and looks at the host all the time. @returns what was seen of it */
  async function whileHung(meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<Set<string>> {
    const { pid } = scene.stack.podman;
    assert.ok(pid !== null);
    const seen = new Set<string>();
    process.kill(pid, 'SIGSTOP');
    try {
      await meanwhile();
      const until = performance.now() + HUNG_MS;
      await eventually('it has hung for long enough', async () => {
        const [host] = (await scene.queues.semaphore.view()).hosts;
        if (host)
          seen.add(host.lost ? 'lost' : !host.leaseLive ? 'silent' : host.synchronised ? 'up' : 'here');
        return performance.now() > until;
      });
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    return seen;
  }

  it('never costs the host its lease, and its jobs end true', async () => {
    const runs = await scene.submit({ exitCode: 3, gated: true });
    await runs.told.hasBegun();
    const starts: Promise<unknown>[] = [];
    const seen = await whileHung(async () => {
      runs.told.open();
      starts.push(scene.submit({ exitCode: 4 }));
      await Promise.all(starts);
    });
    assert.deepEqual([...seen], ['up']);
    await checkAftermath(scene);
  });

  it('neither when Redis is restarted meanwhile, so that the host has to look what it holds', async () => {
    const runs = await scene.submit({ exitCode: 5, gated: true });
    await runs.told.hasBegun();
    const seen = await whileHung(async () => {
      await scene.stack.startRedis();
      await eventually('Redis answers', () => scene.queues.ping().then(() => true));
      await eventually(
        'the host has been asked to say what it holds',
        async () => (await scene.queues.semaphore.view()).hosts[0]?.synchronised === false,
      );
    });
    runs.told.open();
    assert.deepEqual(
      [...seen],
      ['here'],
      'it gets no work before it has said what it holds, and is not given up',
    );
    await checkAftermath(scene);
  });
});
