import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../queues/embedded-redis.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';

/** A process that has ended and waits for its parent to notice counts as gone. */
const alive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};

describe('embedded Redis', () => {
  let dir: string;
  let servers: EmbeddedRedis[];
  let strayPid: number | undefined;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'fp-embedded-'));
    servers = [];
    strayPid = undefined;
  });

  afterEach(async () => {
    for (const server of servers) await server.stop();
    if (strayPid !== undefined && alive(strayPid)) process.kill(strayPid, 'SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });

  const options = () => ({ dir, socketPath: join(dir, 's'), logger: silent });
  const start = async (): Promise<EmbeddedRedis> => {
    const server = await startEmbeddedRedis(options());
    servers.push(server);
    return server;
  };
  const withClient = async <T>(work: (redis: Redis) => Promise<T>): Promise<T> => {
    const redis = new Redis({ path: join(dir, 's') });
    try {
      return await work(redis);
    } finally {
      redis.disconnect();
    }
  };

  it('keeps what was written across a stop and a start', async () => {
    const first = await start();
    await withClient((redis) => redis.set('key', 'kept'));
    await first.stop();
    await first.exited;
    assert.equal(alive(first.pid), false);
    await start();
    assert.equal(await withClient((redis) => redis.get('key')), 'kept');
  });

  it('listens on no port and evicts nothing', async () => {
    await start();
    const settings = await withClient(async (redis) => [
      await redis.config('GET', 'port'),
      await redis.config('GET', 'maxmemory-policy'),
      await redis.config('GET', 'appendonly'),
    ]);
    assert.deepEqual(settings, [
      ['port', '0'],
      ['maxmemory-policy', 'noeviction'],
      ['appendonly', 'yes'],
    ]);
  });

  it('refuses a directory that a live process uses', async () => {
    await start();
    await assert.rejects(startEmbeddedRedis(options()), /another process uses .* already/);
  });

  it('goes on with the server that a crashed parent left', async () => {
    const parent = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { startEmbeddedRedis } from ${JSON.stringify(new URL('../../queues/embedded-redis.ts', import.meta.url).href)};
         const log = { info() {}, error() {}, warn() {}, debug() {} };
         const server = await startEmbeddedRedis({ dir: ${JSON.stringify(dir)}, socketPath: ${JSON.stringify(join(dir, 's'))}, logger: log });
         process.stdout.write(String(server.pid));
         setInterval(() => {}, 1000);`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = new Promise((resolve) => parent.once('exit', resolve));
    strayPid = await new Promise<number>((resolve) =>
      parent.stdout.once('data', (data: Buffer) => resolve(Number(data))),
    );
    parent.kill('SIGKILL');
    await ended;
    // As if the parent had been killed before it could write this.
    rmSync(join(dir, 'redis.pid'));
    const successor = await start();
    assert.equal(successor.reused, true);
    assert.equal(successor.pid, strayPid);
    await successor.stop();
    await successor.exited;
    assert.equal(alive(successor.pid), false);
  });

  it('says when the server ends by itself', async () => {
    const server = await start();
    process.kill(server.pid, 'SIGKILL');
    await server.exited;
    await eventually('the process is gone', () => !alive(server.pid));
  });

  for (const [what, damage] of [
    ['that is no format', `*3\r\n$3\r\nSET\r\nnonsense${'y'.repeat(400)}`],
    ['that makes another command of it', '*2\r\n$5\r\nxxxxx\r\n$3\r\nkey\r\n'],
  ] as const) {
    it(`refuses an append-only file with damage ${what}, and says what to do`, async () => {
      const first = await start();
      await withClient((redis) => redis.set('key', 'value'));
      await first.stop();
      const [increment = ''] = readdirSync(join(dir, 'appendonlydir')).filter((name) =>
        name.endsWith('.incr.aof'),
      );
      writeFileSync(join(dir, 'appendonlydir', increment), damage);
      await assert.rejects(startEmbeddedRedis(options()), /damaged[\s\S]*redis-check-aof --fix/);
    });
  }

  it('calls no file damaged that it only can’t reach', async () => {
    writeFileSync(join(dir, 'appendonlydir'), '');
    await assert.rejects(startEmbeddedRedis(options()), (error: Error) => {
      assert.match(error.message, /append-?only dir/i);
      assert.doesNotMatch(error.message, /damaged/);
      return true;
    });
  });

  it('starts in spite of a file that was cut off in the middle of its last write', async () => {
    const first = await start();
    await withClient(async (redis) => {
      await redis.set('early', 'kept');
      await redis.set('late', 'x'.repeat(100));
    });
    await first.stop();
    const [increment = ''] = readdirSync(join(dir, 'appendonlydir')).filter((name) =>
      name.endsWith('.incr.aof'),
    );
    const file = join(dir, 'appendonlydir', increment);
    truncateSync(file, statSync(file).size - 20);
    await start();
    assert.equal(await withClient((redis) => redis.get('early')), 'kept');
  });
});
