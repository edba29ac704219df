import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('uploads', (table) => {
    table.bigInteger('weight_bytes');
    table.bigInteger('new_bytes');
  });
}
