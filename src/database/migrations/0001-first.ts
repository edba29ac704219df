import type { Knex } from 'knex';

/** Times are milliseconds since the Unix epoch; JSON is text: what both SQLite and PostgreSQL take. */
export async function up(db: Knex): Promise<void> {
  await db.schema.createTable('meta', (table) => {
    table.text('key').primary();
    table.text('value').notNullable();
  });
  await db.schema.createTable('jobs', (table) => {
    table.increments('position');
    table.text('id').notNullable().unique();
    table.text('owner').notNullable();
    table.text('client_job_id');
    // Equals client_job_id until the job is cleaned, null afterwards: the index frees the key by itself.
    table.text('idempotency_key');
    table.text('request_hash').notNullable();
    table.text('type').notNullable();
    table.text('command');
    table.text('task');
    table.text('context');
    table.text('git_branch');
    table.text('git_url');
    table.text('files_id');
    table.text('image').notNullable();
    table.text('image_digest');
    table.integer('cpus').notNullable();
    table.integer('memory_gb').notNullable();
    table.integer('timeout_minutes').notNullable();
    table.text('env').notNullable();
    table.text('network').notNullable();
    table.integer('priority').notNullable();
    table.text('when_busy').notNullable();
    table.integer('max_queue_seconds');
    table.text('labels').notNullable();
    table.text('status').notNullable();
    table.text('ending_reason');
    table.bigInteger('cancel_requested_at');
    table.text('error');
    table.text('error_message');
    table.text('host');
    table.integer('epoch').notNullable().defaultTo(0);
    table.integer('exit_code');
    table.text('usage');
    table.text('warnings').notNullable().defaultTo('[]');
    table.text('artifact_warnings').notNullable().defaultTo('[]');
    table.integer('log_truncated').notNullable().defaultTo(0);
    table.text('waiting_reason');
    table.bigInteger('created_at').notNullable();
    table.bigInteger('queued_at');
    table.bigInteger('starting_at');
    table.bigInteger('started_at');
    table.bigInteger('ended_at');
    table.bigInteger('completed_at');
    table.bigInteger('logs_deleted_at');
    table.bigInteger('artifacts_deleted_at');
    table.integer('events').notNullable().defaultTo(0);
    table.unique(['owner', 'idempotency_key']);
    table.index(['status', 'position']);
    table.index(['owner', 'position']);
    table.index(['host', 'status']);
    table.index(['completed_at']);
  });
  await db.schema.createTable('job_labels', (table) => {
    table.text('job_id').notNullable();
    table.text('key').notNullable();
    table.text('value').notNullable();
    table.primary(['job_id', 'key']);
    table.index(['key', 'value']);
  });
  await db.schema.createTable('events', (table) => {
    table.increments('position');
    table.text('job_id').notNullable();
    table.integer('seq').notNullable();
    table.text('type').notNullable();
    table.text('payload').notNullable();
    table.text('actor').notNullable();
    table.bigInteger('at').notNullable();
    table.unique(['job_id', 'seq']);
  });
  await db.schema.createTable('artifacts', (table) => {
    table.text('job_id').notNullable();
    table.text('name').notNullable();
    table.bigInteger('size_bytes').notNullable();
    table.text('sha256').notNullable();
    table.bigInteger('created_at').notNullable();
    table.primary(['job_id', 'name']);
  });
  await db.schema.createTable('uploads', (table) => {
    table.text('id').primary();
    table.text('owner').notNullable();
    table.text('state').notNullable();
    table.integer('reusable').notNullable().defaultTo(0);
    table.text('job_id');
    table.bigInteger('size_bytes');
    table.integer('file_count');
    table.bigInteger('created_at').notNullable();
    table.bigInteger('expires_at').notNullable();
    table.bigInteger('finalized_at');
    // Set once nothing of its files is left on disk; the row stays so that a late caller learns what became of it.
    table.bigInteger('files_deleted_at');
    table.index(['state', 'expires_at']);
  });
  await db.schema.createTable('hosts', (table) => {
    table.text('name').primary();
    table.integer('cpus_milli').notNullable();
    table.integer('memory_mib').notNullable();
    table.bigInteger('registered_at').notNullable();
  });
}
