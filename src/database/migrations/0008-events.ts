import type { Knex } from 'knex';

/** Events are named after what happened to the job, and each tells state and epoch as they were. */
export async function up(db: Knex): Promise<void> {
  // The state in which an ending was decided is that of the entry before.
  await db.raw(`
    update events set payload = json_set(payload, '$.status', (
      select json_extract(before.payload, '$.status') from events as before
      where before.job_id = events.job_id and before.seq = events.seq - 1))
    where type = 'ending'`);
  await db.raw(`
    update events set
      payload = json_set(payload, '$.epoch', coalesce(json_extract(payload, '$.epoch'), 0)),
      type = case
        when type = 'created' then 'accepted'
        when type = 'ending' then 'ending_decided'
        when type <> 'state' then type
        else case json_extract(payload, '$.status')
          when 'queued' then iif(json_extract(payload, '$.epoch') > 0, 'given_back', 'queued')
          when 'starting' then 'taken'
          when 'running' then 'started'
          when 'cleaning' then 'cleaning'
          when 'cleaned' then 'cleaned'
          else case
            when json_type(payload, '$.exit_code') is not null then 'ended'
            when json_extract(payload, '$.status') = 'cancelled' then 'cancelled'
            when actor = 'sweeper' then 'lost'
            else 'failed_to_start' end
        end
      end`);
  await db.raw(`create index events_cleaned_index on events (at) where type = 'cleaned'`);
}
