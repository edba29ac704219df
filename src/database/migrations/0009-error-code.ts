import type { Knex } from 'knex';

export async function up(db: Knex): Promise<void> {
  await db.schema.alterTable('jobs', (table) => void table.text('error_code'));
  // Until here a job's error was a code, or one of these sentences.
  await db.raw(`
    update jobs set error_code = case
      when error = 'Job exceeded timeout limit' then 'job_timed_out'
      when error like '% %' then 'command_failed'
      else error end
    where error is not null`);
}
