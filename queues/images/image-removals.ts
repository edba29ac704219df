/** How the API tells hosts to remove an image, and hears what became of it. Nobody does it for one that is away. */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { ImageRemoval, ImageRemovals, RemovalOutcome } from '../../src/images/removal.ts';
import { ask } from '../connection.ts';
import type { Keys } from '../keys.ts';

/** So that a host which comes back later does not do what nobody waits for any more. */
const KEPT_MS = 60_000;

export class RedisImageRemovals implements ImageRemovals {
  readonly #connection: Redis;
  readonly #keys: Keys;

  constructor(connection: Redis, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  async ask(hosts: readonly string[], removal: ImageRemoval): Promise<string> {
    const id = randomUUID();
    const text = JSON.stringify(removal);
    await ask(this.#connection, 'askRemoval', async () => {
      for (const host of hosts) {
        const key = this.#keys.hostRemovals(host);
        await this.#connection.multi().hset(key, id, text).pexpire(key, KEPT_MS).exec();
        await this.#connection.publish(this.#keys.imagesChannel(host), '');
      }
    });
    return id;
  }

  async outcomes(id: string): Promise<ReadonlyMap<string, RemovalOutcome>> {
    const said = await ask(this.#connection, 'removalOutcomes', () =>
      this.#connection.hgetall(this.#keys.imageRemoval(id)),
    );
    return new Map(Object.entries(said).map(([host, text]) => [host, JSON.parse(text) as RemovalOutcome]));
  }

  /** Those that a host is to do, by what they are called. @throws FlashpodsError service_unavailable, as below */
  async wanted(host: string): Promise<ReadonlyMap<string, ImageRemoval>> {
    const asked = await ask(this.#connection, 'removals', () =>
      this.#connection.hgetall(this.#keys.hostRemovals(host)),
    );
    return new Map(Object.entries(asked).map(([id, text]) => [id, JSON.parse(text) as ImageRemoval]));
  }

  /** The worker's word. */
  async say(host: string, id: string, outcome: RemovalOutcome): Promise<void> {
    await ask(this.#connection, 'sayRemoval', async () => {
      const key = this.#keys.imageRemoval(id);
      await this.#connection
        .multi()
        .hset(key, host, JSON.stringify(outcome))
        .pexpire(key, KEPT_MS)
        .hdel(this.#keys.hostRemovals(host), id)
        .exec();
    });
  }
}
