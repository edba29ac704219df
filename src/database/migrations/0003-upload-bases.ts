import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('uploads', (table) => {
    // The snapshot that the upload begins with; it stays while this one takes files.
    table.text('base_id');
    table.index(['base_id']);
  });
}
