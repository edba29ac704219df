import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('jobs', (table) => {
    // Null for a type of job that has no such field.
    table.text('shell').defaultTo('auto');
    table.text('ran_by');
  });
}
