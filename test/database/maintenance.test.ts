import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { open, rm, stat, writeFile } from 'node:fs/promises';
import BetterSqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Database } from '../../src/database/database.ts';
import { checkDatabase, DatabaseUnusable, vacuumDatabase } from '../../src/database/maintenance.ts';
import { scratch } from '../support/scratch.ts';

const COMMAND = new URL('../../bin/flashpods.ts', import.meta.url).pathname;

describe('the database, looked after', () => {
  const dir = scratch();
  let path: string;
  let database: Database;

  beforeEach(async () => {
    await dir.make();
    path = dir.path('flashpods.db');
    database = await Database.open({ path });
    await addEvents(5);
  });
  afterEach(async () => {
    await database.close();
    for (const suffix of ['', '-wal', '-shm']) await rm(`${path}${suffix}`, { force: true });
  });

  let events = 0;
  const addEvents = async (count: number, payload = '{}'): Promise<void> => {
    const rows = Array.from({ length: count }, () => {
      events += 1;
      return { job_id: `job_${events}`, seq: 1, type: 'created', payload, actor: 'test', at: 0 };
    });
    await database.write((trx) => trx.batchInsert('events', rows, 50));
  };
  const removeEvents = (offset: number, limit: number): Promise<unknown> =>
    database.write((trx) =>
      trx('events')
        .whereIn('position', trx('events').select('position').orderBy('position').offset(offset).limit(limit))
        .delete(),
    );
  const problems = async (): Promise<Record<string, readonly string[]>> =>
    Object.fromEntries((await checkDatabase(path)).map(({ name, problems: found }) => [name, found]));
  const sound = { integrity: [], 'foreign keys': [], schema: [], journal: [] };

  describe('by a check', () => {
    it('is sound while the server uses it, also without its oldest events', async () => {
      assert.deepEqual(await problems(), sound);
      await removeEvents(0, 2);
      assert.deepEqual(await problems(), sound);
    });

    it('shows a gap in the journal, and an end that was cut off', async () => {
      await removeEvents(2, 1);
      assert.match(
        (await problems())['journal']?.join() ?? '',
        /no event lies between the positions 2 and 4/,
      );
      await removeEvents(3, 1);
      assert.match((await problems())['journal']?.at(-1) ?? '', /last event is at position 4, .* up to 5/);
    });

    it('shows a schema that is older or newer than the program', async () => {
      await database.write((trx) =>
        trx('schema_migrations').where({ name: '0006-lists' }).update({ name: '9999-next' }),
      );
      const { schema } = await problems();
      assert.match(schema?.[0] ?? '', /newer than this program \(it has 9999-next\)/);
      assert.match(schema?.[1] ?? '', /lacks 0006-lists/);
    });

    it('shows pages that are spoilt', async () => {
      await addEvents(2_000, JSON.stringify('x'.repeat(100)));
      await vacuumDatabase(path, 1_000);
      const { size } = await stat(path);
      const file = await open(path, 'r+');
      await file.write(Buffer.alloc(8192, 0xa5), 0, 8192, Math.floor(size / 2 / 4096) * 4096);
      await file.close();
      assert.notDeepEqual((await problems())['integrity'], []);
    });

    it('says when there is none, or another file', async () => {
      await assert.rejects(checkDatabase(dir.path('none.db')), DatabaseUnusable);
      const other = dir.path('other.db');
      await writeFile(other, 'no database at all, and long enough to be seen as none '.repeat(50));
      await assert.rejects(checkDatabase(other), DatabaseUnusable);
    });
  });

  describe('by a vacuum', () => {
    it('is smaller, keeps every row, and the server goes on', async () => {
      await addEvents(3_000, JSON.stringify('x'.repeat(1_000)));
      await removeEvents(0, 3_000);
      const { bytesBefore, bytesAfter } = await vacuumDatabase(path, 1_000);
      assert.ok(bytesAfter < bytesBefore / 10, `${bytesBefore} → ${bytesAfter}`);
      await addEvents(1);
      assert.deepEqual(await problems(), sound);
      assert.equal(
        Number((await database.read((db) => db('events').count({ n: '*' }).first<{ n: number }>())).n),
        6,
      );
    });

    it('is refused while another process holds the write lock, and nothing has changed', async () => {
      const holder = new BetterSqlite(path);
      holder.exec('begin immediate');
      try {
        await assert.rejects(vacuumDatabase(path, 50), /write lock .* try again when fewer jobs come/);
      } finally {
        holder.close();
      }
      assert.deepEqual(await problems(), sound);
    });
  });

  it('is found by the settings of the command, which tells of it in words and in JSON', async () => {
    const run = (
      ...args: string[]
    ): Promise<{ code: number | string | null; stdout: string; stderr: string }> =>
      new Promise((resolve) => {
        execFile(
          process.execPath,
          [COMMAND, 'db', ...args],
          { env: { PATH: process.env['PATH'], HOME: dir.path(), FLASHPODS_DB_PATH: path } },
          (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }),
        );
      });
    assert.deepEqual(await run('check'), {
      code: 0,
      stdout: 'integrity: ok\nforeign keys: ok\nschema: ok\njournal: ok\n',
      stderr: '',
    });
    await removeEvents(1, 1);
    const bad = await run('check', '--json');
    assert.equal(bad.code, 1);
    assert.equal((JSON.parse(bad.stdout) as { sound: boolean }).sound, false);
    const vacuumed = await run('vacuum', '--json');
    assert.ok((JSON.parse(vacuumed.stdout) as { bytes_after: number }).bytes_after > 0);
    assert.equal((await run('mend')).code, 2);
  });
});
