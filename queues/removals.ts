/** How the API tells hosts to remove something, and hears what became of it. Nobody does it for one that is away. */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { ANSWER_WITHIN_MS, type RemovalOutcome, type Removals } from '../src/hosts/removal.ts';
import { ask } from './connection.ts';

const KEPT_MS = 60_000;

/** Where what is asked of a host stands, what became of one, and by which channel a host hears of it. */
export interface RemovalKeys {
  readonly asked: (host: string) => string;
  readonly outcomes: (id: string) => string;
  readonly channel: (host: string) => string;
}

/** Until when somebody waits for it, by Redis's clock: a host that comes back later does not do it. */
interface Asked<Removal> {
  readonly removal: Removal;
  readonly untilMs: number;
}

export class RedisRemovals<Removal> implements Removals<Removal> {
  readonly #connection: Redis;
  readonly #keys: RemovalKeys;

  constructor(connection: Redis, keys: RemovalKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  async ask(hosts: readonly string[], removal: Removal): Promise<string> {
    const id = randomUUID();
    await ask(this.#connection, 'askRemoval', async () => {
      const asked: Asked<Removal> = { removal, untilMs: (await this.#now()) + ANSWER_WITHIN_MS };
      const text = JSON.stringify(asked);
      for (const host of hosts) {
        const key = this.#keys.asked(host);
        await this.#connection.multi().hset(key, id, text).pexpire(key, KEPT_MS).exec();
        await this.#connection.publish(this.#keys.channel(host), '');
      }
    });
    return id;
  }

  async outcomes(id: string): Promise<ReadonlyMap<string, RemovalOutcome>> {
    const said = await ask(this.#connection, 'removalOutcomes', () =>
      this.#connection.hgetall(this.#keys.outcomes(id)),
    );
    return new Map(Object.entries(said).map(([host, text]) => [host, JSON.parse(text) as RemovalOutcome]));
  }

  /** Those that a host is to do, by what they are called. @throws FlashpodsError service_unavailable, as below */
  async wanted(host: string): Promise<ReadonlyMap<string, Removal>> {
    return ask(this.#connection, 'removals', async () => {
      const asked = Object.entries(await this.#connection.hgetall(this.#keys.asked(host)));
      if (asked.length === 0) return new Map();
      const now = await this.#now();
      return new Map(
        asked.flatMap(([id, text]) => {
          const { untilMs, removal } = JSON.parse(text) as Asked<Removal>;
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
      const key = this.#keys.outcomes(id);
      await this.#connection
        .multi()
        .hset(key, host, JSON.stringify(outcome))
        .pexpire(key, KEPT_MS)
        .hdel(this.#keys.asked(host), id)
        .exec();
    });
  }
}
