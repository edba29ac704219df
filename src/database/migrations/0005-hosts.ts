import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('hosts', (table) => {
    // Outlives Redis and every worker process: a drained host takes work again only when it is told to.
    table.integer('draining').notNullable().defaultTo(0);
    // Whether its capacity was configured, or is all that its machine has.
    table.integer('explicit_capacity').notNullable().defaultTo(0);
    // The worker process that registered it last: boot and pid namespace, pid, start time. Null: written before.
    table.text('worker_place');
    table.integer('worker_pid');
    table.text('worker_start_time');
  });
  // Jobs that were dispatched and came back, among however many that wait.
  await db.raw(`create index jobs_given_back on jobs (position) where status = 'queued' and epoch > 0`);
}
