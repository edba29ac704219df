import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('jobs', (table) => {
    table.text('caches').notNullable().defaultTo('[]');
    table.text('cache_scope');
  });
}
