/**
 * Connections to Redis. Losing it is an everyday event: every connection reconnects for ever, and none of them
 * throws into the process.
 */
import type { Socket } from 'node:net';
import { Redis, type RedisOptions } from 'ioredis';
import { FlashpodsError } from '../src/errors.ts';
import type { Logger } from '../src/observability/logger.ts';
import { within } from '../src/timing/within.ts';

/**
 * `producer` fails at once when Redis is away and waits 2 s for an answer (no answer does not mean "not done");
 * `worker` waits for Redis as long as it takes: what BullMQ workers and subscriptions need.
 */
export type ConnectionKind = 'producer' | 'worker';

const COMMAND_TIMEOUT_MS = 2_000;
const QUIT_MS = 500;
const MAX_RECONNECT_DELAY_MS = 1_000;

/** @param url `redis://…`, `rediss://…` or `unix:///path` */
export function connect(url: string, kind: ConnectionKind, logger: Logger): Redis {
  const options: RedisOptions = {
    connectTimeout: 5_000,
    retryStrategy: (attempt) => Math.min(20 * 2 ** Math.min(attempt, 10), MAX_RECONNECT_DELAY_MS),
    // A failed-over or restarting master answers READONLY or LOADING: connect again instead of failing for ever.
    reconnectOnError: (error) => /^(READONLY|LOADING)/.test(error.message),
    ...(kind === 'producer'
      ? { enableOfflineQueue: false, commandTimeout: COMMAND_TIMEOUT_MS, maxRetriesPerRequest: 0 }
      : { enableOfflineQueue: true, maxRetriesPerRequest: null }),
  };
  const path = /^unix:\/\/(\/.+)$/.exec(url)?.[1];
  const connection = path === undefined ? new Redis(url, options) : new Redis({ ...options, path });
  reportOutages(connection, kind, logger);
  connection.on('connect', () => gatherWrites(connection.stream));
  return connection;
}

/**
 * All commands of one turn of the event loop go to the kernel together: a request sends six, and a system call for
 * each of them was a sixth of what it costs. ioredis' own `enableAutoPipelining` was measured instead (`enqueue`, on a
 * busy machine): 970 jobs a second against 892 with 50 at once, 87 against 120 with one at once. That is no clear gain.
 */
function gatherWrites(stream: Socket): void {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
  let gathering = false;
  stream.write = (...args: unknown[]): boolean => {
    if (!gathering) {
      gathering = true;
      stream.cork();
      setImmediate(() => {
        gathering = false;
        stream.uncork();
      });
    }
    return write(...args);
  };
}

/** One line for each outage and one for its end, however often the connection is tried in between. */
function reportOutages(connection: Redis, kind: ConnectionKind, logger: Logger): void {
  let away = false;
  connection.on('error', (error: Error) => {
    if (!away) logger.warn({ err: error, connection: kind }, 'Redis is away');
    away = true;
  });
  connection.on('ready', () => {
    if (away) logger.info({ connection: kind }, 'Redis is back');
    away = false;
  });
}

/**
 * Asks Redis, and says in our words that it did not answer.
 * @throws FlashpodsError service_unavailable, at once when Redis is known to be away
 */
export async function ask<T>(connection: Redis, operation: string, work: () => Promise<T>): Promise<T> {
  try {
    if (connection.status !== 'ready') throw new Error(`the connection to Redis is ${connection.status}`);
    return await work();
  } catch (cause) {
    if (cause instanceof FlashpodsError) throw cause;
    throw new FlashpodsError('service_unavailable', 'The queue did not answer.', {
      cause,
      details: { operation },
    });
  }
}

/** Closes without waiting for an absent Redis. May be called twice. */
export async function disconnect(connection: Redis): Promise<void> {
  if (connection.status === 'end') return;
  if (connection.status === 'ready') {
    const quit = connection.quit().catch(() => undefined);
    await within(quit, QUIT_MS, 'late');
  }
  connection.disconnect();
}
