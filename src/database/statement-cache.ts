import { RecentMap } from '../recent-map.ts';

/** The part of a better-sqlite3 connection that prepares statements. */
interface Preparing<Statement> {
  prepare(sql: string): Statement;
}

/** Far more texts than the stores have; the savepoints of nested transactions have names of their own each. */
const MOST = 256;

/**
 * Keeps prepared statements by their text: preparing one costs more than running it, and knex prepares anew each time.
 * SQLite compiles a kept statement again by itself when the schema has changed since. The one that was made first goes
 * first.
 */
export function cacheStatements<Statement>(connection: Preparing<Statement>): void {
  const prepare = connection.prepare.bind(connection);
  const kept = new RecentMap<string, Statement>(MOST);
  connection.prepare = (sql) => {
    const known = kept.get(sql);
    if (known) return known;
    const statement = prepare(sql);
    kept.set(sql, statement);
    return statement;
  };
}
