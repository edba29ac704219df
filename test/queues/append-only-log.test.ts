import assert from 'node:assert/strict';
import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { renewAppendOnlyLog } from '../../queues/append-only-log.ts';
import { connect, disconnect } from '../../queues/connection.ts';
import { eventually } from '../support/eventually.ts';
import { createKeys } from '../../queues/keys.ts';
import { silent, TestRedis } from '../support/redis.ts';

describe('the append-only log of Redis', () => {
  let redis: TestRedis;
  let connection: Redis;
  beforeEach(async () => {
    redis = await TestRedis.start();
    connection = connect(redis.url, 'worker', silent);
  });
  afterEach(async () => {
    await disconnect(connection);
    await redis.stop();
  });

  const restart = async (damage: () => void = () => undefined): Promise<void> => {
    await redis.halt();
    damage();
    await redis.start();
    await eventually('it is back', () => connection.status === 'ready');
  };
  /** Ends the log in the middle of the last command that names `word`. */
  const cutOffAt = (word: string): void => {
    const dir = join(redis.dir, 'appendonlydir');
    const [name = ''] = readdirSync(dir).filter((each) => each.endsWith('.incr.aof'));
    const at = readFileSync(join(dir, name)).lastIndexOf(word);
    assert.ok(at > 0);
    truncateSync(join(dir, name), at + 1);
  };
  /** Ten seconds for each key, which Redis has for such tests. */
  const delayWriting = (): Promise<unknown> => connection.config('SET', 'rdb-key-save-delay', '10000000');
  const writer = (): Promise<number> =>
    eventually('it is being written', () => {
      const children = readFileSync(`/proc/${redis.pid}/task/${redis.pid}/children`, 'utf8');
      return Number(children.split(' ')[0]);
    });
  const isRenewed = (): Promise<unknown> =>
    eventually('it is written anew', async () => {
      const info = await connection.info('persistence');
      return /aof_rewrite_in_progress:0/.test(info) && /aof_last_rewrite_time_sec:\d/.test(info);
    });

  it('holds no half of a script once it is renewed after a start that cut it off', async () => {
    await connection.eval("redis.call('INCRBY', 'sum', 5) redis.call('SET', 'listed', 'yes')", 0);
    await restart(() => cutOffAt('listed'));
    assert.deepEqual(await connection.mget('sum', 'listed'), [null, null], 'all of a script or nothing');
    await renewAppendOnlyLog(connection, createKeys());
    await isRenewed();
    await connection.set('after', 'kept');
    await restart();
    assert.deepEqual(await connection.mget('sum', 'listed', 'after'), [null, null, 'kept']);
  });

  it('is written anew once after a start, and again when that failed', async () => {
    const dir = join(redis.dir, 'appendonlydir');
    const logs = (): string[] => readdirSync(dir).filter((each) => each.endsWith('.aof'));
    const first = logs();
    await renewAppendOnlyLog(connection, createKeys());
    await isRenewed();
    const second = logs();
    assert.notDeepEqual(second, first);
    await renewAppendOnlyLog(connection, createKeys());
    assert.match(await connection.info('persistence'), /aof_rewrite_in_progress:0/);
    assert.deepEqual(logs(), second);
    await restart();
    await connection.mset('a', '1', 'b', '1');
    await delayWriting();
    await renewAppendOnlyLog(connection, createKeys());
    process.kill(await writer(), 'SIGKILL');
    await eventually('it has failed', async () =>
      /aof_last_bgrewrite_status:err/.test(await connection.info('persistence')),
    );
    await connection.config('SET', 'rdb-key-save-delay', '0');
    const third = logs();
    await renewAppendOnlyLog(connection, createKeys());
    await isRenewed();
    assert.notDeepEqual(logs(), third);
  });

  it('does not end in half of a script while the new one is written', async () => {
    await connection.eval("redis.call('INCRBY', 'sum', 5) redis.call('SET', 'listed', 'yes')", 0);
    await restart(() => cutOffAt('listed'));
    await connection.mset('a', '1', 'b', '1');
    await delayWriting();
    await renewAppendOnlyLog(connection, createKeys());
    const orphan = await writer();
    await redis.kill();
    process.kill(orphan, 'SIGKILL');
    await redis.start();
    await eventually('it is back', () => connection.status === 'ready');
    assert.deepEqual(await connection.mget('a', 'b'), ['1', '1']);
  });

  it('may be none, or somebody else’s who does not allow it', async () => {
    await connection.config('SET', 'appendonly', 'no');
    await renewAppendOnlyLog(connection, createKeys());
    const info = await connection.info('persistence');
    for (const word of ['_last_rewrite_time_sec:-1', '_rewrite_in_progress:0', '_rewrite_scheduled:0'])
      assert.ok(info.includes(`aof${word}`), word);
    await connection.config('SET', 'appendonly', 'yes');
    await isRenewed();
    await connection.acl('SETUSER', 'default', '-bgrewriteaof');
    await renewAppendOnlyLog(connection, createKeys());
  });
});
