import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('jobs', (table) => {
    // An owner's list by state, also with a hundred thousand of one of them: pages in their order, and their number
    // (of a type) from the index alone.
    table.index(['owner', 'status', 'position', 'type']);
  });
}
