/** Looks after a database file from outside of the server, which may be running: is it sound, and how small can it be? */
import { stat } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { messageOf, systemCode } from '../errors.ts';
import { ifMissing } from '../files/if-missing.ts';
import { MIGRATIONS } from './migrations/index.ts';

/** What is wrong with a database, a sentence each, or that it can't be used at all. */
export class DatabaseUnusable extends Error {
  override readonly name = 'DatabaseUnusable';
}

export interface Check {
  readonly name: 'integrity' | 'foreign keys' | 'schema' | 'journal';
  /** A sentence each; empty: all is well. */
  readonly problems: readonly string[];
}

/** More of them say no more. */
const MOST_PROBLEMS = 20;

/**
 * Checks a database without changing it. Of one whose pages are spoilt nothing else can be told.
 * @throws DatabaseUnusable when there is none at `path`, or it can't be opened
 */
export function checkDatabase(path: string): Promise<readonly Check[]> {
  return withDatabase(path, { readonly: true }, (database) => {
    const integrity: Check = { name: 'integrity', problems: integrityProblems(database) };
    if (integrity.problems.length > 0) return [integrity];
    const keys = database.pragma('foreign_key_check') as { table: string; parent: string }[];
    return [
      integrity,
      {
        name: 'foreign keys',
        problems: keys
          .slice(0, MOST_PROBLEMS)
          .map(({ table, parent }) => `a row of ${table} names a row of ${parent} that is not there`),
      },
      { name: 'schema', problems: schemaProblems(database) },
      { name: 'journal', problems: journalProblems(database) },
    ];
  });
}

export interface Vacuumed {
  /** Bytes of the file and what is written beside it. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/**
 * Rewrites a database without the room that deleted rows left. Nobody else can write meanwhile; who reads goes on. It
 * needs room on the disk for a second copy.
 * @param patienceMs how long another process's write lock is waited for
 * @throws DatabaseUnusable when there is none, the lock is not to be had in that time, or the disk is full
 */
export async function vacuumDatabase(path: string, patienceMs: number): Promise<Vacuumed> {
  const bytesBefore = await sizeOf(path);
  await withDatabase(path, { timeout: patienceMs }, (database) => {
    database.exec('VACUUM');
    // The new pages are in the file beside the database until then; a reader may keep them there for a while.
    database.pragma('wal_checkpoint(TRUNCATE)');
  });
  return { bytesBefore, bytesAfter: await sizeOf(path) };
}

function integrityProblems(database: Sqlite.Database): string[] {
  try {
    const rows = database.pragma(`integrity_check(${MOST_PROBLEMS})`) as { integrity_check: string }[];
    return rows.map((row) => row.integrity_check).filter((text) => text !== 'ok');
  } catch (error) {
    // So spoilt that the check itself breaks off.
    if (systemCode(error)?.startsWith('SQLITE_CORRUPT') === true) return [messageOf(error)];
    throw error;
  }
}

function schemaProblems(database: Sqlite.Database): string[] {
  const rows = database.prepare('select name from schema_migrations').all() as { name: string }[];
  const applied = new Set(rows.map(({ name }) => name));
  const known = new Set(MIGRATIONS.map(({ name }) => name));
  const newer = [...applied].filter((name) => !known.has(name));
  const missing = [...known].filter((name) => !applied.has(name));
  return [
    ...(newer.length > 0 ? [`it is newer than this program (it has ${newer.join(', ')})`] : []),
    ...(missing.length > 0
      ? [`it lacks ${missing.join(', ')}, which the server adds at its next start`]
      : []),
  ];
}

/** From the oldest event that is kept, positions go up without a gap: who follows the journal misses nothing. */
function journalProblems(database: Sqlite.Database): string[] {
  const gaps = database
    .prepare(
      `select previous, position from (
         select position, lag(position) over (order by position) as previous from events
       ) where position > previous + 1 limit ${MOST_PROBLEMS}`,
    )
    .all() as { previous: number; position: number }[];
  const end = database
    .prepare(
      `select (select max(position) from events) as newest,
              (select seq from sqlite_sequence where name = 'events') as given`,
    )
    .get() as { newest: number | null; given: number | null };
  const problems = gaps.map(
    ({ previous, position }) => `no event lies between the positions ${previous} and ${position}`,
  );
  if (end.newest !== null && end.given !== null && end.newest < end.given) {
    problems.push(`the last event is at position ${end.newest}, but positions were given up to ${end.given}`);
  }
  return problems;
}

async function withDatabase<T>(
  path: string,
  options: Sqlite.Options,
  work: (database: Sqlite.Database) => T,
): Promise<T> {
  if ((await sizeOf(path)) === 0) throw new DatabaseUnusable(`there is no database at ${path}`);
  try {
    const database = new Sqlite(path, { fileMustExist: true, ...options });
    try {
      return work(database);
    } finally {
      database.close();
    }
  } catch (cause) {
    const code = systemCode(cause) ?? '';
    if (code.startsWith('SQLITE_BUSY')) {
      throw new DatabaseUnusable(
        'another process holds the write lock of the database; try again when fewer jobs come, or stop the server first',
        { cause },
      );
    }
    if (code === 'SQLITE_FULL' || code === 'SQLITE_IOERR_WRITE') {
      throw new DatabaseUnusable('the disk is full: a copy of the database must fit beside it', { cause });
    }
    if (!code.startsWith('SQLITE_')) throw cause;
    throw new DatabaseUnusable(`${path} can't be used as a database of Flashpods: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** Bytes of the database and its write-ahead log; 0 when there is none. */
async function sizeOf(path: string): Promise<number> {
  const sizes = [path, `${path}-wal`].map(async (file) =>
    stat(file).then(({ size }) => size, ifMissing(0, 'ENOTDIR')),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
