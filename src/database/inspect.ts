/** Looks at a database without changing it, or the directory that it lies in. */
import { stat } from 'node:fs/promises';
import knex from 'knex';
import { ifMissing } from '../files/if-missing.ts';
import { MIGRATIONS } from './migrations/index.ts';

/**
 * @returns names of migrations in there that this program does not know: those of a newer one. Null: no such file.
 * @throws Error for what is no database of ours, or can't be read
 */
export async function unknownMigrations(path: string): Promise<string[] | null> {
  const file = await stat(path).catch(ifMissing(null, 'ENOTDIR'));
  if (file === null) return null;
  if (file.size === 0) throw new Error('it is empty');
  const connection = knex({
    client: 'better-sqlite3',
    connection: { filename: path, options: { readonly: true } },
    useNullAsDefault: true,
    pool: { min: 1, max: 1 },
  });
  try {
    const rows = await connection('schema_migrations').select<{ name: string }[]>('name');
    const known = new Set(MIGRATIONS.map(({ name }) => name));
    return rows.map(({ name }) => name).filter((name) => !known.has(name));
  } finally {
    await connection.destroy();
  }
}
