import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('jobs', (table) => {
    // What was asked for, GB, and what its host gave it, MiB. Null: nothing was asked for; it has no host.
    table.integer('disk_gb');
    table.integer('disk_mib');
  });
  await db.schema.alterTable('hosts', (table) => {
    // All that jobs could reserve if its disk were empty. Null: a host of an earlier version.
    table.integer('disk_mib');
  });
}
