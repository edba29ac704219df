/** The caches that hosts have, as their workers say it. */
import type { Redis } from 'ioredis';
import type { HostCache } from '../src/caches/cache.ts';
import type { HostCaches } from '../src/caches/service.ts';
import { ask } from './connection.ts';
import type { RedisJobQueue } from './job-queue.ts';
import type { Keys } from './keys.ts';

/** What a host has counts for this time after it was said. */
const SAID_MS = 30_000;

export class CacheBoard {
  readonly #connection: Redis;
  readonly #keys: Keys;

  constructor(connection: Redis, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** The worker's word; to be said again and again. @throws FlashpodsError service_unavailable, as all here */
  async say(host: string, caches: readonly HostCache[]): Promise<void> {
    await ask(this.#connection, 'sayCaches', () =>
      this.#connection.set(this.#keys.hostCaches(host), JSON.stringify(caches), 'PX', SAID_MS),
    );
  }

  /** What hosts that are not lost said lately. */
  async reports(queue: Pick<RedisJobQueue, 'capacity'>): Promise<HostCaches> {
    const { hosts } = await queue.capacity();
    const names = hosts.flatMap(({ name, state }) => (state === 'lost' ? [] : [name]));
    if (names.length === 0) return new Map();
    const said = await ask(this.#connection, 'caches', () =>
      this.#connection.mget(names.map((name) => this.#keys.hostCaches(name))),
    );
    return new Map(
      names.map((name, at) => {
        const caches = said[at];
        return [name, typeof caches === 'string' ? (JSON.parse(caches) as HostCache[]) : []];
      }),
    );
  }
}
