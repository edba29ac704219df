import type { Redis } from 'ioredis';

/**
 * Has Redis write its append-only log anew, in the background, where it keeps one. To be done after each of its starts:
 * one that finds the log cut off within a script leaves the script's first commands in it, and its *next* start takes
 * them for done, and all that was written after them with them. (Redis 7.0, and Valkey until
 * https://github.com/valkey-io/valkey/pull/4342.)
 *
 * Does nothing where Redis is somebody's who does not allow it; sums are then still put right, see `verify.lua`.
 */
export async function renewAppendOnlyLog(connection: Redis): Promise<void> {
  try {
    const keepsOne = /^aof_enabled:1/m.test(await connection.info('persistence'));
    if (keepsOne) await connection.bgrewriteaof();
  } catch {
    // Not allowed, or being done already. If Redis went away, its next start is another one.
  }
}
