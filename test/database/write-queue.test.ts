import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'mocha';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Database } from '../../src/database/database.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { scratch } from '../support/scratch.ts';

describe('writes that share a transaction', () => {
  const directory = scratch();
  let database: Database;
  let other: Database;
  before(async () => {
    const path = join(await directory.make(), 'db');
    database = await Database.open({ path, busyRetryMs: 400 });
    other = await Database.open({ path });
  });
  after(async () => {
    await database.close();
    await other.close();
  });
  afterEach(() => other.write((trx) => trx('meta').delete()));

  const put = (key: string) =>
    database.write(async (trx) => {
      await trx('meta').insert({ key, value: key });
      return key;
    });
  const keys = async (): Promise<string[]> =>
    (await other.read((db) => db('meta').orderBy('key').select<{ key: string }[]>('key'))).map(
      ({ key }) => key,
    );
  const numbered = (count: number): string[] =>
    Array.from({ length: count }, (_, index) => `key-${String(index).padStart(3, '0')}`);

  it('are all there for everybody when their promises are kept, each with its own result', async () => {
    const wanted = numbered(100);
    assert.deepEqual(await Promise.all(wanted.map(put)), wanted);
    assert.deepEqual(await keys(), wanted);
  });

  it('are committed together: a hundred of them with a few commits', async () => {
    let begun = 0;
    const count = ({ sql }: { sql: string }): void => void (sql === 'COMMIT;' && (begun += 1));
    database.knex.on('query', count);
    await Promise.all(numbered(100).map(put));
    database.knex.off('query', count);
    assert.ok(begun <= 10, `${begun} commits`);
  });

  it('are done in the order in which they were asked for', async () => {
    const order: string[] = [];
    await Promise.all(
      ['a', 'b', 'c'].map((key) =>
        database.write(async (trx) => {
          await trx('meta').insert({ key, value: '' });
          order.push(key);
        }),
      ),
    );
    assert.deepEqual(order, ['a', 'b', 'c']);
  });

  it('do not suffer from the errors of others', async () => {
    await put('taken');
    const wanted = numbered(60);
    const settled = await Promise.allSettled([
      ...wanted.slice(0, 20).map(put),
      put('taken'),
      ...wanted.slice(20, 40).map(put),
      database.write(async (trx) => {
        await trx('meta').insert({ key: 'half', value: 'written' });
        throw new FlashpodsError('upload_not_found');
      }),
      put('taken'),
      ...wanted.slice(40).map(put),
    ]);
    assert.equal(settled.filter(({ status }) => status === 'rejected').length, 3);
    assert.ok(settled[41]?.status === 'rejected' && settled[41].reason instanceof FlashpodsError);
    assert.deepEqual(await keys(), [...wanted, 'taken']);
  });

  it('let the first of two rivals win though both are asked for at once', async () => {
    const settled = await Promise.allSettled([put('same'), put('same')]);
    assert.deepEqual(
      settled.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
  });

  it('wait for another process’s lock each for its own time', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let locked: () => void = () => undefined;
    const isLocked = new Promise<void>((resolve) => (locked = resolve));
    const holder = other.write(async (trx) => {
      await trx('meta').insert({ key: 'lock', value: '' });
      locked();
      await held;
    });
    await isLocked;
    const early = put('early');
    const refused = assert.rejects(
      early,
      (error) => error instanceof FlashpodsError && error.code === 'database_error',
    );
    await delay(250); // its time is 400 ms, and the later one's goes on when it is over
    const late = put('late');
    await refused;
    release();
    await holder;
    assert.equal(await late, 'late');
    assert.deepEqual(await keys(), ['late', 'lock']);
  });
});
