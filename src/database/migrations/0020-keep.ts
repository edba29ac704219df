import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('jobs', (table) => {
    // What was asked for; what was granted at the end of the job: until when, ms, and how much that holds.
    table.integer('keep_hours');
    table.bigInteger('kept_until');
    table.bigInteger('kept_bytes');
  });
  await db.raw(
    'create index jobs_kept_index on jobs (owner) where kept_until is not null and artifacts_deleted_at is null',
  );
  await db.schema.alterTable('tenants', (table) => {
    table.integer('max_kept_mb');
  });
}
