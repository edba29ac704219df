import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.createTable('tenants', (table) => {
    table.text('owner').primary();
    table.float('weight').notNullable();
    // Null: the default of the settings is in force. -1: no limit, regardless of that default.
    table.integer('max_running_jobs');
    table.integer('max_cpus');
    table.integer('max_memory_gb');
    table.integer('max_queued_jobs');
    table.bigInteger('updated_at').notNullable();
    table.text('updated_by').notNullable();
  });
  await db.schema.alterTable('jobs', (table) => {
    // Null for jobs from before: then it is created_at.
    table.bigInteger('ordered_at');
  });
  // Counts an owner's waiting jobs while another is created. Partial: it holds what waits, not what ever was.
  await db.raw("create index jobs_owner_waiting_index on jobs (owner) where status in ('pending', 'queued')");
}
