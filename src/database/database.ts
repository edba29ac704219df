/** Opens the database, brings it up to date, and gives transactions that wait for a busy writer without blocking. */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import knex, { type Knex } from 'knex';
import { FlashpodsError, messageOf, systemCode } from '../errors.ts';
import { MIGRATIONS } from './migrations/index.ts';

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

export class Database {
  readonly knex: Knex;
  readonly #busyRetryMs: number;

  private constructor(connection: Knex, busyRetryMs: number) {
    this.knex = connection;
    this.#busyRetryMs = busyRetryMs;
  }

  /** @throws Error when the file is newer than this program or is no database */
  static async open(options: DatabaseOptions): Promise<Database> {
    mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
    const connection = knex({
      client: 'better-sqlite3',
      connection: { filename: options.path },
      useNullAsDefault: true,
      pool: {
        min: 1,
        max: 1,
        afterCreate(
          raw: { pragma(text: string): unknown },
          done: (error: Error | null, raw: unknown) => void,
        ) {
          try {
            raw.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`);
            raw.pragma('journal_mode = WAL');
            // FULL: a row that was answered for survives a power cut, or a job could run twice. 0.2 ms here.
            raw.pragma('synchronous = FULL');
            raw.pragma('foreign_keys = ON');
            done(null, raw);
          } catch (error) {
            done(error as Error, raw);
          }
        },
      },
    });
    const database = new Database(connection, options.busyRetryMs ?? 15_000);
    try {
      await database.#migrate();
    } catch (error) {
      await connection.destroy();
      throw error;
    }
    return database;
  }

  /**
   * Runs `work` in a transaction, again from the start while another process holds the write lock.
   * `work` writes before it reads: a read first would make SQLite refuse the upgrade instead of waiting.
   * @throws FlashpodsError database_error when the lock was not to be had in time, or on any other SQLite error
   */
  write<T>(work: (trx: Knex.Transaction) => Promise<T>): Promise<T> {
    return this.#patiently(() => this.knex.transaction(work));
  }

  /** Runs a query that changes nothing. Same errors as {@link write}. */
  read<T>(work: (db: Knex) => Promise<T>): Promise<T> {
    return this.#patiently(() => work(this.knex));
  }

  /** Answers if the database does. */
  async ping(): Promise<void> {
    await this.knex.raw('select 1');
  }

  /** Names this installation: two of them on one machine never touch each other's containers. */
  async deploymentId(): Promise<string> {
    return this.write(async (trx) => {
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

  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + this.#busyRetryMs;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        const code = systemCode(error);
        if (code?.startsWith('SQLITE_BUSY') && performance.now() < deadline) {
          await delay(Math.min(5 + attempt * 5, 50) * (0.5 + Math.random()));
        } else if (code?.startsWith('SQLITE_') && !code.startsWith('SQLITE_CONSTRAINT')) {
          throw new FlashpodsError('database_error', undefined, { cause: error, details: {} });
        } else if (error instanceof Error && error.name === 'KnexTimeoutError') {
          throw new FlashpodsError('database_error', undefined, { cause: error });
        } else {
          throw error;
        }
      }
    }
  }
}

export const isUniqueViolation = (error: unknown): boolean =>
  systemCode(error)?.startsWith('SQLITE_CONSTRAINT_') === true && /unique/i.test(messageOf(error));
