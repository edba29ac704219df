/**
 * Where a database belongs: its directory, by device and inode. One that finds itself elsewhere is a copy. Both
 * functions are synchronous and without knex, for a process that does not keep the database open.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'better-sqlite3';
import { isPlaceOf, placeOf } from '../files/place.ts';

const PATIENCE_MS = 15_000;
/** More dispatches than one job ever has. */
const EPOCHS_APART = 1_000_000;

/** @returns whether the database belongs to another directory. One that is not there yet, or says nothing, does not */
export function isCopiedDatabase(path: string): boolean {
  const home = using(path, (database) => {
    const row = database.prepare("select value from meta where key = 'home'").get();
    return (row as { value: string } | undefined)?.value ?? null;
  });
  return home !== null && !isPlaceOf(home, dirname(path));
}

/** Processes that the database names as workers of its hosts, as records of processes. */
export const recordedWorkers = (path: string): unknown[] =>
  using(path, (database) => {
    const rows = database.prepare(
      'select worker_pid as pid, worker_start_time as startTicks, worker_place as pidSpace from hosts where worker_pid is not null',
    );
    return rows.all();
  }) ?? [];

/**
 * Gives a copy a name and a home of its own: containers with the old name are those of the original. Jobs that wait get
 * dispatches that the original never had: its containers may have their names.
 */
export function giveNewHome(path: string): void {
  using(path, (database) => {
    const set = database.prepare(
      'insert into meta (key, value) values (?, ?) on conflict (key) do update set value = excluded.value',
    );
    database
      .transaction(() => {
        set.run('deployment_id', randomUUID());
        set.run('home', placeOf(dirname(path)) ?? '');
        database
          .prepare("update jobs set epoch = epoch + ? where status in ('pending', 'queued')")
          .run(EPOCHS_APART);
        database.prepare('update hosts set worker_pid = null, worker_start_time = null').run();
      })
      .immediate();
  });
}

/** @returns null when there is no database yet, or one that was never begun */
function using<T>(path: string, work: (database: Sqlite.Database) => T): T | null {
  if (!existsSync(path)) return null;
  const database = new Sqlite(path, { timeout: PATIENCE_MS });
  try {
    const tables = database.prepare(
      "select count(*) as n from sqlite_master where name in ('meta', 'hosts')",
    );
    if ((tables.get() as { n: number }).n < 2) return null;
    return work(database);
  } finally {
    database.close();
  }
}
