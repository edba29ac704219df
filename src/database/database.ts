/** Opens the database, brings it up to date, and gives transactions that wait for a busy writer without blocking. */
import { randomUUID } from 'node:crypto';
import { chmodSync, closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import knex, { type Knex } from 'knex';
import { FlashpodsError, messageOf, systemCode } from '../errors.ts';
import { ifThere } from '../files/if-missing.ts';
import { placeOf } from '../files/place.ts';
import { retry } from '../timing/backoff.ts';
import { MIGRATIONS } from './migrations/index.ts';
import { cacheStatements } from './statement-cache.ts';
import { BUSY_BACKOFF, WriteQueue } from './write-queue.ts';

export interface DatabaseOptions {
  readonly path: string;
  /** How long a writer waits for another process's lock before `database_error`, milliseconds. Default 15,000. */
  readonly busyRetryMs?: number;
}

/**
 * better-sqlite3 is synchronous: SQLite's own busy handler would stop the event loop, and with it heartbeats and
 * health. So it may only wait this long, and the rest of the waiting is asynchronous.
 */
const BUSY_TIMEOUT_MS = 20;
/** Longer than any write takes that goes well. */
const PING_PATIENCE_MS = 400;

/**
 * What jobs run and with which variables is nobody else's to read. SQLite gives its other files the mode of the first.
 */
function closeToOthers(path: string): void {
  if (path === ':memory:') return;
  // Never opened where it is there: the end of any handle of this process would give up SQLite's locks on it
  // (sqlite.org/howtocorrupt.html, 2.2).
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    // SQLite says what is wrong with one that can't be made.
    const found = ifThere(() => statSync(path), null, 'ENOTDIR', 'EACCES');
    const isOurs = found !== null && found.uid === process.getuid?.();
    if (isOurs && (found.mode & 0o077) !== 0) chmodSync(path, 0o600);
  }
}

export class Database {
  readonly knex: Knex;
  readonly #busyRetryMs: number;
  readonly #path: string;
  readonly #writes: WriteQueue;
  #inode = 0;

  private constructor(connection: Knex, path: string, busyRetryMs: number) {
    this.knex = connection;
    this.#path = path;
    this.#busyRetryMs = busyRetryMs;
    this.#writes = new WriteQueue({
      transact: (work) => connection.transaction(work),
      isBusy,
      translate: translated,
    });
  }

  /** @throws Error when the file is newer than this program or is no database */
  static async open(options: DatabaseOptions): Promise<Database> {
    mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
    closeToOthers(options.path);
    const connection = knex({
      client: 'better-sqlite3',
      connection: { filename: options.path },
      useNullAsDefault: true,
      pool: {
        min: 1,
        max: 1,
        afterCreate(
          raw: { pragma(text: string): unknown; prepare(sql: string): object },
          done: (error: Error | null, raw: unknown) => void,
        ) {
          try {
            raw.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`);
            raw.pragma('journal_mode = WAL');
            // FULL: a row that was answered for survives a power cut, or a job could run twice. 0.2 ms here.
            raw.pragma('synchronous = FULL');
            raw.pragma('foreign_keys = ON');
            cacheStatements(raw);
            done(null, raw);
          } catch (error) {
            done(error as Error, raw);
          }
        },
      },
    });
    const database = new Database(connection, options.path, options.busyRetryMs ?? 15_000);
    try {
      await database.#migrate();
      database.#inode = (await stat(options.path)).ino;
    } catch (error) {
      await connection.destroy();
      throw error;
    }
    return database;
  }

  /**
   * Runs `work` in a transaction that it may share with others (see {@link WriteQueue}), again from the start while
   * another process holds the write lock. One transaction at a time: each try stops the event loop for up to
   * {@link BUSY_TIMEOUT_MS}, and a crowd that tries in turns would stop it for as long as the lock is held. `work`
   * writes before it reads: a read first would make SQLite refuse the upgrade instead of waiting. It may run more than
   * once, and has no effect outside the transaction.
   * @throws FlashpodsError database_error when the lock was not to be had in time, or on any other SQLite error
   */
  write<T>(work: (trx: Knex.Transaction) => Promise<T>): Promise<T> {
    return this.#writes.write(work, this.#busyRetryMs);
  }

  /** Runs a query that changes nothing. Same errors as {@link write}. */
  read<T>(work: (db: Knex) => Promise<T>): Promise<T> {
    return this.#patiently(() => work(this.knex));
  }

  /**
   * Answers if the database can be read and written: its file is the one that was opened, and its write lock is to be
   * had within {@link PING_PATIENCE_MS}. @throws Error, FlashpodsError database_error
   */
  async ping(): Promise<void> {
    if ((await stat(this.#path)).ino !== this.#inode) throw new Error('the database is another file by now');
    // Takes the lock and changes nothing, so nothing is written either.
    await this.#patiently(
      () => this.knex.transaction((trx) => trx('schema_migrations').where({ name: '' }).delete()),
      performance.now() + PING_PATIENCE_MS,
    );
  }

  /**
   * Names this installation: two of them on one machine never touch each other's containers. Where it lies is written
   * down beside it, for a copy to get a name of its own (home.ts).
   */
  async deploymentId(): Promise<string> {
    const home = { key: 'home', value: placeOf(dirname(this.#path)) ?? '' };
    return this.write(async (trx) => {
      await trx('meta').insert(home).onConflict('key').merge();
      await trx('meta').insert({ key: 'deployment_id', value: randomUUID() }).onConflict('key').ignore();
      const row = await trx('meta').where({ key: 'deployment_id' }).first<{ value: string }>('value');
      return row.value;
    });
  }

  close(): Promise<void> {
    return this.knex.destroy();
  }

  /**
   * Knex's own migrator holds a lock row that a `kill -9` leaves behind for ever; here the transaction is the lock.
   */
  async #migrate(): Promise<void> {
    await this.#patiently(() =>
      this.knex.raw(
        'create table if not exists schema_migrations (name text primary key, applied_at bigint not null)',
      ),
    );
    await this.write(async (trx) => {
      await trx('schema_migrations').where({ name: '' }).update({ applied_at: 0 });
      const applied = new Set(
        (await trx('schema_migrations').select<{ name: string }[]>('name')).map((row) => row.name),
      );
      const known = new Set(MIGRATIONS.map((migration) => migration.name));
      const newer = [...applied].filter((name) => !known.has(name));
      if (newer.length > 0) {
        throw new Error(
          `the database is newer than this program (it has ${newer.join(', ')}); install a newer Flashpods`,
        );
      }
      for (const migration of MIGRATIONS) {
        if (applied.has(migration.name)) continue;
        await migration.up(trx);
        await trx('schema_migrations').insert({ name: migration.name, applied_at: Date.now() });
      }
    });
  }

  /** Tries at least once. @param deadline `performance.now()` after which it gives up */
  async #patiently<T>(work: () => Promise<T>, deadline = performance.now() + this.#busyRetryMs): Promise<T> {
    try {
      return await retry(work, { ...BUSY_BACKOFF, again: isBusy, deadline });
    } catch (error) {
      throw translated(error);
    }
  }
}

const isBusy = (error: unknown): boolean => systemCode(error)?.startsWith('SQLITE_BUSY') === true;

/** What knex, its pool and better-sqlite3 say, without a code, about a connection that is closed or not to be had. */
const UNCONNECTED = /^(Unable to acquire a connection|The database connection is not open|aborted)$/;

/** SQLite's own errors in our words; a violated constraint and errors of the work itself as they are. */
function translated(error: unknown): unknown {
  const code = systemCode(error);
  const ofSqlite = code?.startsWith('SQLITE_') === true && !code.startsWith('SQLITE_CONSTRAINT');
  const ofPool =
    error instanceof Error && (error.name === 'KnexTimeoutError' || UNCONNECTED.test(error.message));
  return ofSqlite || ofPool ? new FlashpodsError('database_error', undefined, { cause: error }) : error;
}

export const isUniqueViolation = (error: unknown): boolean =>
  systemCode(error)?.startsWith('SQLITE_CONSTRAINT_') === true && /unique/i.test(messageOf(error));
