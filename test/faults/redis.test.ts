/**
 * Redis killed, stopped, emptied and damaged under a whole system with real containers. The times are a tenth of those
 * in the wild (lease 3 s instead of 30): away for 3.5 s is longer than the lease, for 15 s longer than a host may be
 * silent. FLASHPODS_FAULTS=full takes the full times.
 */
import assert from 'node:assert/strict';
import { readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { checkAftermath, type Expected } from './harness/aftermath.ts';
import { type FaultScene, startScene, type SubmittedJob } from './harness/scene.ts';

const FULL = process.env['FLASHPODS_FAULTS'] === 'full';
const SCALE = FULL ? 10 : 1;
const HOSTS = [
  { name: 'redis-a', cpus: 3, memoryGb: 4 },
  { name: 'redis-b', cpus: 3, memoryGb: 4 },
];

describe('Redis', function () {
  this.timeout(FULL ? 600_000 : 120_000);
  let scene: FaultScene;
  const expected = new Map<string, Expected>();
  before(async () => {
    scene = await startScene({
      hosts: HOSTS,
      env: {
        FLASHPODS_HEARTBEAT_SECONDS: String(SCALE),
        FLASHPODS_LEASE_SECONDS: String(3 * SCALE),
        FLASHPODS_HOST_LOST_SECONDS: String(12 * SCALE),
        FLASHPODS_RECONCILE_SECONDS: '1',
      },
    });
  });
  after(() => scene.stop());

  /** Jobs in every phase: some that run through all of it, some that end meanwhile, some that wait. */
  const inEveryPhase = async (): Promise<{ long: SubmittedJob[] }> => {
    const long = [
      await scene.submit({ cpus: 2, gated: true, exitCode: 4 }),
      await scene.submit({ cpus: 2, gated: true }),
    ];
    for (const { told } of long) await told.hasBegun();
    for (const seconds of [0.3, 0.6, 0.9, 1.5])
      await scene.submit({ script: `sleep ${seconds}`, exitCode: 5 });
    await scene.submit({ cpus: 3, memoryGb: 3 });
    return { long };
  };
  const isAway = (): Promise<unknown> =>
    eventually('the outage is noticed', () => scene.queues.connection.status !== 'ready');
  const kill = async (): Promise<void> => {
    process.kill(scene.stack.redis.pid, 'SIGKILL');
    await scene.stack.redis.exited;
    await isAway();
  };
  /** @returns the newest file of the append-only log, which takes every write */
  const newestLog = async (): Promise<string> => {
    const dir = join(scene.dir, 'redis', 'appendonlydir');
    const file = (await readdir(dir))
      .filter((name) => name.endsWith('.incr.aof'))
      .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
      .at(-1);
    assert.ok(file !== undefined);
    return join(dir, file);
  };
  const letGo = (jobs: readonly SubmittedJob[]): void => {
    for (const { told } of jobs) told.open();
  };
  const sums = () => checkAftermath(scene, { expected, timeoutMs: 40_000 * SCALE });

  for (const [seconds, longer] of [
    [3.5, 'than a lease'],
    [15, 'than a host may be silent'],
  ] as const) {
    it(`killed and away for longer ${longer}: jobs are accepted, run, end and are cancelled meanwhile`, async () => {
      const { long } = await inEveryPhase();
      const doomed = await scene.submit({ gated: true });
      await doomed.told.hasBegun();
      await kill();
      const back = delay(seconds * SCALE * 1_000);
      await scene.submit({ exitCode: 6 });
      const cancelled = await scene.stack.caller.json('DELETE', `/jobs/${doomed.id}`);
      assert.equal(cancelled.status, 200, JSON.stringify(cancelled.body));
      expected.set(doomed.id, { status: 'cancelled' });
      const over = await scene.stack.caller.ended(doomed.id);
      assert.equal(over.status, 'cancelled');
      long[0]?.told.open();
      const ended = await scene.stack.caller.ended(long[0]?.id ?? '');
      assert.equal(ended.exit_code, 4);
      await back;
      await scene.stack.startRedis();
      await scene.submit();
      letGo(long.slice(1));
      await sums();
    });
  }

  const stops = [[3, 'for as long as a lease']] as [number, string][];
  // What this one adds is, without containers and in a tenth of the time, a case of `dispatchers.test.ts`.
  if (FULL) stops.push([14, 'for longer than a host may be silent']);
  for (const [seconds, longer] of stops) {
    it(`stopped (SIGSTOP) ${longer}: everything goes on where it was`, async () => {
      const { long } = await inEveryPhase();
      const { pid } = scene.stack.redis;
      process.kill(pid, 'SIGSTOP');
      try {
        await scene.submit();
        long[0]?.told.open();
        await delay(seconds * SCALE * 1_000);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await scene.submit();
      letGo(long.slice(1));
      await sums();
    });
  }

  it('emptied while jobs run and wait', async () => {
    const { long } = await inEveryPhase();
    await scene.queues.connection.flushall();
    await scene.submit();
    await scene.queues.connection.flushall();
    letGo(long);
    await sums();
  });

  it('started anew with its data directory gone', async () => {
    const { long } = await inEveryPhase();
    await kill();
    await rm(join(scene.dir, 'redis', 'appendonlydir'), { recursive: true });
    await scene.stack.startRedis();
    await scene.submit();
    letGo(long);
    await sums();
  });

  for (const share of [0.5, 0.95]) {
    it(`started anew with its append-only file cut off at ${share * 100} %`, async () => {
      const { long } = await inEveryPhase();
      await kill();
      const file = await newestLog();
      const { size } = await stat(file);
      await truncate(file, Math.floor(size * share));
      await scene.stack.startRedis();
      await scene.submit();
      letGo(long);
      await sums();
    });
  }

  it('started anew with its append-only file cut off in the middle of a script, and then once more', async () => {
    const { long } = await inEveryPhase();
    await eventually('something is released', async () =>
      (await readFile(await newestLog())).includes(':released:'),
    );
    await kill();
    const file = await newestLog();
    // The sums are in the middle of what a script writes.
    await truncate(file, (await readFile(file)).lastIndexOf('usedMemory') + 1);
    await scene.stack.startRedis();
    await scene.submit();
    await eventually('the file is written anew', async () => {
      const info = await scene.queues.connection.info('persistence').catch(() => '');
      return info.includes('aof_rewrite_in_progress:0') && (await newestLog()) !== file;
    });
    await kill();
    await scene.stack.startRedis();
    letGo(long);
    await sums();
  });

  it('refuses an append-only file that is damaged in the middle, says what to do, and that is enough', async () => {
    const { long } = await inEveryPhase();
    await kill();
    const path = await newestLog();
    const log = await readFile(path);
    // From where a command begins: within a long value nobody could see it.
    const middle = log.indexOf('\r\n*', Math.floor(log.length / 2)) + 2;
    await writeFile(path, log.fill('x', middle, middle + 512));
    await assert.rejects(scene.stack.startRedis(), /redis-check-aof --fix[\s\S]*move the directory away/);
    await scene.submit();
    long[0]?.told.open();
    const dir = join(scene.dir, 'redis', 'appendonlydir');
    await rename(dir, `${dir}.bak`);
    await scene.stack.startRedis();
    letGo(long.slice(1));
    await sums();
  });
});
