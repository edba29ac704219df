import { join } from 'node:path';
import SqliteDatabase from 'better-sqlite3';
import { eventually } from '../../support/eventually.ts';
import type { RoleProcess } from '../../support/processes.ts';
import { isStopped } from './plan.ts';

/** Longer than any transaction of a process that runs, ms. */
const LOCK_MS = 1_000;

/**
 * Stops a process (SIGSTOP) that is not in the middle of a transaction: SQLite would let nobody else write until it goes
 * on, and that is another case.
 */
export async function freeze(dir: string, role: RoleProcess): Promise<void> {
  const database = new SqliteDatabase(join(dir, 'flashpods.db'), { timeout: LOCK_MS });
  try {
    await eventually('it is stopped outside of a transaction', async () => {
      role.kill('SIGSTOP');
      await isStopped(role.pid);
      try {
        database.exec('BEGIN IMMEDIATE; ROLLBACK');
        return true;
      } catch {
        role.kill('SIGCONT');
        return false;
      }
    });
  } finally {
    database.close();
  }
}
