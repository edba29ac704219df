/**
 * How dispatch and hosts agree on images before anything is reserved: dispatch wishes an image onto a host, and the
 * host's worker says what it knows of it. Wishes are renewed while somebody waits, so that a pull nobody needs ends.
 */
import type { Redis } from 'ioredis';
import type { HostImage } from '../../src/images/image.ts';
import { ask } from '../connection.ts';
import type { Keys } from '../keys.ts';

/** What a worker says of an image. Times by its clock, ms since the Unix epoch. */
export interface ImageWord {
  readonly state: 'present' | 'pulling' | 'failed';
  /** Of the worker that says so; what an earlier one said counts for nothing. */
  readonly generation: number;
  readonly at: number;
  /** What the pull is at, a few words. */
  readonly step?: string;
  /** Why it failed, a sentence. */
  readonly error?: string;
}

/** What a host has counts for this time after it was said. */
const STOCK_MS = 30_000;

export class ImageBoard {
  readonly #connection: Redis;
  readonly #keys: Keys;
  /** Of the one host whose worker this process is. */
  #saidStock: string | null = null;

  constructor(connection: Redis, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** Wishes for, or goes on wishing for an image on a host. @throws FlashpodsError service_unavailable, as all here */
  async wish(host: string, image: string, owner: string): Promise<void> {
    await ask(this.#connection, 'wish', async () => {
      const said = await this.#connection
        .multi()
        .hsetnx(this.#keys.hostWishOwners(host), image, owner)
        .hincrby(this.#keys.hostWishes(host), image, 1)
        .exec();
      if (said?.[1]?.[1] === 1) await this.#connection.publish(this.#keys.imagesChannel(host), '');
    });
  }

  /** The images that are wished for on a host, each with a number that changes with every renewal. */
  async wishes(host: string): Promise<ReadonlyMap<string, string>> {
    const wishes = await ask(this.#connection, 'wishes', () =>
      this.#connection.hgetall(this.#keys.hostWishes(host)),
    );
    return new Map(Object.entries(wishes));
  }

  /** For whom these images were wished for first, in their order; '' where nobody knows. */
  async wishedBy(host: string, images: readonly string[]): Promise<string[]> {
    if (images.length === 0) return [];
    const owners = await ask(this.#connection, 'wishedBy', () =>
      this.#connection.hmget(this.#keys.hostWishOwners(host), ...images),
    );
    return owners.map((owner) => owner ?? '');
  }

  async forgetWish(host: string, image: string): Promise<void> {
    await ask(this.#connection, 'forgetWish', async () => {
      await this.#connection
        .multi()
        .hdel(this.#keys.hostWishes(host), image)
        .hdel(this.#keys.hostWishOwners(host), image)
        .exec();
    });
  }

  /** The worker's word; dispatch looks at it at once. */
  async say(host: string, image: string, word: ImageWord): Promise<void> {
    await ask(this.#connection, 'say', async () => {
      await this.#connection.hset(this.#keys.hostImages(host), image, JSON.stringify(word));
      await this.#connection.publish(this.#keys.wakeChannel, '');
    });
  }

  /**
   * What the host has, in full. Say it again well before {@link STOCK_MS} are over: what has not changed is only kept,
   * because the programs of all images are some 100 kB.
   */
  async sayStock(host: string, images: readonly HostImage[]): Promise<void> {
    const stock = JSON.stringify(images);
    const key = this.#keys.hostStock(host);
    await ask(this.#connection, 'sayStock', async () => {
      // A Redis that was lost, or was away for too long, has no such key.
      if (stock === this.#saidStock && (await this.#connection.pexpire(key, STOCK_MS)) === 1) return;
      await this.#connection.set(key, stock, 'PX', STOCK_MS);
      this.#saidStock = stock;
    });
  }

  /** What these hosts said lately that they have; null of one that has not. */
  async stocks(hosts: readonly string[]): Promise<ReadonlyMap<string, readonly HostImage[] | null>> {
    if (hosts.length === 0) return new Map();
    const said = await ask(this.#connection, 'stocks', () =>
      this.#connection.mget(hosts.map((host) => this.#keys.hostStock(host))),
    );
    return new Map(
      hosts.map((host, index) => {
        const stock = said[index];
        return [host, typeof stock === 'string' ? (JSON.parse(stock) as HostImage[]) : null];
      }),
    );
  }

  async unsay(host: string, image: string): Promise<void> {
    await ask(this.#connection, 'unsay', () => this.#connection.hdel(this.#keys.hostImages(host), image));
  }

  /** What was said of these images on a host, in their order; null where nothing was. */
  async words(host: string, images: readonly string[]): Promise<(ImageWord | null)[]> {
    if (images.length === 0) return [];
    const words = await ask(this.#connection, 'words', () =>
      this.#connection.hmget(this.#keys.hostImages(host), ...images),
    );
    return words.map((word) => (word === null ? null : (JSON.parse(word) as ImageWord)));
  }
}
