/** Makes a queue long in seconds: rows copied inside the database, then put into the queue as the API would do it. */
import type { QueueResources } from '../../queues/resources.ts';
import { Database } from '../../src/database/database.ts';
import { KnexJobQueries } from '../../src/database/job-queries.ts';

/** Not among what a job's id is made of: no id that the product makes is like one of these. */
const ID_PREFIX = 'job_bench-';
const PAGE = 1_000;
const AT_ONCE = 200;

/** Adds `count` waiting jobs like the one given, with their journal entries. */
export async function lengthenQueue(
  dbPath: string,
  queues: QueueResources,
  like: string,
  count: number,
): Promise<void> {
  const database = await Database.open({ path: dbPath });
  try {
    const queries = new KnexJobQueries(database);
    const model = await queries.get(like);
    if (!model) throw new Error(`there is no job ${like}`);
    const { position: after } = (await database.read((db) =>
      db('jobs').max({ position: 'position' }).first(),
    )) as { position: number };
    await database.write(async (trx) => {
      const numbers = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)';
      const columns = (await trx.raw<{ name: string }[]>('pragma table_info(jobs)'))
        .map(({ name }) => name)
        .filter((name) => name !== 'position');
      const values = columns.map((name) => (name === 'id' ? `'${ID_PREFIX}' || n.i` : `j.${name}`));
      await trx.raw(
        `${numbers} insert into jobs (${columns.join(', ')}) select ${values.join(', ')} from n, jobs j where j.id = ?`,
        [count, like],
      );
      await trx.raw(
        `${numbers} insert into events (job_id, seq, type, payload, actor, at)
         select '${ID_PREFIX}' || n.i, e.seq, e.type, e.payload, e.actor, e.at from n, events e where e.job_id = ?`,
        [count, like],
      );
    });
    for (let position = after; ;) {
      const jobs = (await queries.waiting(position, PAGE)).filter(({ id }) => id.startsWith(ID_PREFIX));
      for (let start = 0; start < jobs.length; start += AT_ONCE)
        await Promise.all(jobs.slice(start, start + AT_ONCE).map((job) => queues.queue.enqueue(job)));
      const last = jobs.at(-1);
      if (!last) return;
      position = last.position;
    }
  } finally {
    await database.close();
  }
}
