/** How the API tells hosts to remove an image, and hears what became of it. Nobody does it for one that is away. */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import {
  ANSWER_WITHIN_MS,
  type ImageRemoval,
  type ImageRemovals,
  type RemovalOutcome,
} from '../../src/images/removal.ts';
import { ask } from '../connection.ts';
import type { Keys } from '../keys.ts';

const KEPT_MS = 60_000;

/** Until when somebody waits for it, by Redis's clock: a host that comes back later does not do it. */
type Asked = ImageRemoval & { readonly untilMs: number };

export class RedisImageRemovals implements ImageRemovals {
  readonly #connection: Redis;
  readonly #keys: Keys;

  constructor(connection: Redis, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  async ask(hosts: readonly string[], removal: ImageRemoval): Promise<string> {
    const id = randomUUID();
    await ask(this.#connection, 'askRemoval', async () => {
      const asked: Asked = { ...removal, untilMs: (await this.#now()) + ANSWER_WITHIN_MS };
      const text = JSON.stringify(asked);
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
    return ask(this.#connection, 'removals', async () => {
      const asked = Object.entries(await this.#connection.hgetall(this.#keys.hostRemovals(host)));
      if (asked.length === 0) return new Map();
      const now = await this.#now();
      return new Map(
        asked.flatMap(([id, text]) => {
          const { untilMs, ...removal } = JSON.parse(text) as Asked;
          return untilMs > now ? [[id, removal]] : [];
        }),
      );
    });
  }

  async #now(): Promise<number> {
    const [seconds, micros] = await this.#connection.time();
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
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
