import type { Knex } from 'knex';

/** Rows from before are files of which nobody looked at mode and time. */
export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('artifacts', (table) => {
    table.text('type').notNullable().defaultTo('file');
    table.integer('mode');
    // Nanoseconds since the Unix epoch, in decimal.
    table.text('mtime_ns');
    table.text('link_target');
    table.text('leads_to');
  });
}
