import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import BetterSqlite3 from 'better-sqlite3';
import { after, before, describe, it } from 'mocha';
import { type PodmanService, startPodmanService } from '../../src/containers/podman/service/service.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { type Stack, startStack } from '../support/stack.ts';

const run = promisify(execFile);

interface HealthAnswer {
  status: string;
  checks: Record<string, string>;
}

/** One API process, and what it stands on taken away from under it. */
describe('health while something is gone', () => {
  let stack: Stack;
  let successor: PodmanService | undefined;
  let small: Awaited<ReturnType<typeof temporaryDirectory>>;

  before(async () => {
    small = await temporaryDirectory();
    await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', small.path]);
    await mkdir(join(small.path, 'logs'));
    const env = { FLASHPODS_LOGS_PATH: join(small.path, 'logs'), FLASHPODS_MIN_FREE_DISK_MB: '8' };
    stack = await startStack({ workers: [], env });
  });
  after(async () => {
    await successor?.stop();
    await stack.stop();
    await run('umount', [small.path]);
    await small.remove();
  });

  /** An answer comes in any outage; how soon is measured in bench/, since tests share the machine. */
  const look = async (): Promise<{ status: number; body: HealthAnswer }> => {
    const answer = await fetch(`${stack.caller.url}/health`, { signal: AbortSignal.timeout(10_000) });
    return { status: answer.status, body: (await answer.json()) as HealthAnswer };
  };
  const becomes = async (check: string, state: 'ok' | 'down'): Promise<number> => {
    const { status, body } = await eventually(
      `${check} is ${state}`,
      async () => {
        const answer = await look();
        return answer.body.checks[check] === state ? answer : null;
      },
      { everyMs: 10 },
    );
    if (state === 'ok') return status;
    assert.deepEqual([status, body.status], check === 'podman' ? [200, 'degraded'] : [503, 'unhealthy']);
    return status;
  };
  const healthy = (): Promise<unknown> =>
    eventually('everything is fine', async () => (await look()).body.status === 'healthy');
  /** Gone and back, both told. */
  const outage = async (check: string, take: () => unknown, giveBack: () => unknown): Promise<void> => {
    await healthy();
    await take();
    try {
      await becomes(check, 'down');
    } finally {
      await giveBack();
    }
    await becomes(check, 'ok');
    await healthy();
  };

  it('tells of a Redis that hangs', async () => {
    const { pid } = stack.redis;
    await outage(
      'redis',
      () => process.kill(pid, 'SIGSTOP'),
      () => process.kill(pid, 'SIGCONT'),
    );
  });

  it('tells of a Podman that hangs, and of one that is gone', async () => {
    const { pid } = stack.podman;
    assert.ok(pid !== null);
    await outage(
      'podman',
      () => process.kill(pid, 'SIGSTOP'),
      () => process.kill(pid, 'SIGCONT'),
    );
    await outage(
      'podman',
      () => stack.podman.stop(),
      async () => {
        successor = await startPodmanService({ runDir: join(stack.dir, 'run', 'podman'), logger: silent });
      },
    );
  });

  it('tells of a database that another process holds for seconds, while requests wait for it', async () => {
    const other = new BetterSqlite3(join(stack.dir, 'flashpods.db'));
    const waiting: Promise<string>[] = [];
    try {
      await outage(
        'database',
        () => {
          other.exec('begin immediate');
          for (let n = 0; n < 60; n += 1) waiting.push(stack.caller.submit('true'));
        },
        async () => {
          const until = performance.now() + 2_500;
          await eventually('it was held for a while', async () => {
            assert.equal((await look()).body.checks['database'], 'down');
            return performance.now() > until;
          });
          other.exec('rollback');
        },
      );
    } finally {
      other.close();
    }
    assert.equal(new Set(await Promise.all(waiting)).size, 60);
  });

  it('tells of a database whose file is gone', async () => {
    const path = join(stack.dir, 'flashpods.db');
    await outage(
      'database',
      () => rename(path, `${path}.away`),
      () => rename(`${path}.away`, path),
    );
  });

  it('tells of a disk that is full', async () => {
    const file = join(small.path, 'ballast');
    await outage(
      'disk',
      () => writeFile(file, Buffer.alloc(12 * 2 ** 20)),
      () => rm(file),
    );
  });

  it('tells of a disk that became read-only', async () => {
    const remount = (mode: string): Promise<unknown> => run('mount', ['-o', `remount,${mode}`, small.path]);
    await outage(
      'disk',
      () => remount('ro'),
      () => remount('rw'),
    );
  });

  it('tells of a Redis that was killed, and of its successor', async () => {
    await outage(
      'redis',
      () => process.kill(stack.redis.pid, 'SIGKILL'),
      () => stack.startRedis(),
    );
  });
});
