import { ReplyError, type Redis } from 'ioredis';
import type { Keys } from './keys.ts';

/**
 * Has Redis write its append-only log anew, in the background, unless it has done so since its last start. Redis that
 * finds the log cut off within a script leaves the script's first commands in it, and its *next* start does them, before
 * all that was written later (seen with Redis 7.0; in Valkey until https://github.com/valkey-io/valkey/pull/4342).
 * Harmless to repeat, and to be repeated: the writing itself may fail.
 *
 * Does nothing where Redis keeps no log, or is somebody's who does not allow it. Sums are put right all the same, see
 * `semaphore/includes/recount.lua`.
 * @throws Error when Redis does not answer
 */
export async function renewAppendOnlyLog(connection: Redis, keys: Keys): Promise<void> {
  try {
    const info = await connection.info('persistence');
    if (!/^aof_enabled:1/m.test(info) || /^aof_rewrite_(in_progress|scheduled):1/m.test(info)) return;
    const isNew = !/^aof_last_rewrite_time_sec:-1/m.test(info) && /^aof_last_bgrewrite_status:ok/m.test(info);
    if (isNew) return;
    // Until the new log is written the old one is still read, as one that is followed by another: it must not end in the
    // middle of a transaction then.
    await connection.multi().set(keys.renewal, '').del(keys.renewal).exec();
    // guard: half-script
    await connection.bgrewriteaof();
  } catch (error) {
    // A refusal: not allowed, or Redis does something like it already.
    if (!(error instanceof ReplyError)) throw error;
  }
}
