/** {@link Announcements} by Redis's pub/sub: who is to look at what. Lost ones cost a second, since everybody polls as well. */
import type { Redis } from 'ioredis';
import type { Announcements } from '../src/jobs/ports.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { Keys } from './keys.ts';

type Listener = (payload: string) => void;

export class RedisAnnouncements implements Announcements {
  readonly #connection: Redis;
  readonly #subscriber: Redis;
  readonly #keys: Keys;
  readonly #logger: Logger;
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #jobListeners = new Map<string, Set<() => void>>();

  /**
   * @param connection publishes, and fails at once when Redis is away
   * @param subscriber waits for Redis, and is used for nothing else
   */
  constructor(connection: Redis, subscriber: Redis, keys: Keys, logger: Logger) {
    this.#connection = connection;
    this.#subscriber = subscriber;
    this.#keys = keys;
    this.#logger = logger;
    subscriber.on('message', (channel: string, payload: string) => {
      for (const listener of this.#listeners.get(channel) ?? []) listener(payload);
    });
  }

  announce(jobId: string, host: string | null): void {
    this.#publish(this.#keys.lookChannel, jobId);
    this.#publish(this.#keys.wakeChannel, jobId);
    if (host !== null) this.#publish(this.#keys.hostChannel(host), jobId);
  }

  subscribe(jobId: string, listener: () => void): () => void {
    let listeners = this.#jobListeners.get(jobId);
    if (!listeners) {
      listeners = new Set();
      this.#jobListeners.set(jobId, listeners);
    }
    // Wrapped, so that the same function given twice is two subscriptions.
    const entry = (): void => listener();
    listeners.add(entry);
    this.#listen(this.#keys.lookChannel, this.#onLook);
    return () => {
      listeners.delete(entry);
      if (listeners.size === 0 && this.#jobListeners.get(jobId) === listeners)
        this.#jobListeners.delete(jobId);
    };
  }

  subscribeAll(listener: (jobId: string) => void): () => void {
    return this.#listen(this.#keys.lookChannel, (payload) => listener(payload));
  }

  /** Calls with the id of a job of this host that wants to be looked at, or '' when the host shall synchronise. */
  subscribeHost(host: string, listener: (jobId: string) => void): () => void {
    return this.#listen(this.#keys.hostChannel(host), (payload) => listener(payload));
  }

  /** Calls when an image may have been wished for on this host. */
  subscribeImages(host: string, listener: () => void): () => void {
    return this.#listen(this.#keys.imagesChannel(host), () => listener());
  }

  /** Calls whenever room or work may have come up; `vacancy` when the dispatcher that led has gone. */
  subscribeWake(listener: (vacancy: boolean) => void): () => void {
    return this.#listen(this.#keys.wakeChannel, (payload) => listener(payload === 'vacancy'));
  }

  readonly #onLook: Listener = (jobId) => {
    for (const listener of this.#jobListeners.get(jobId) ?? []) listener();
  };

  #listen(channel: string, listener: Listener): () => void {
    let listeners = this.#listeners.get(channel);
    if (!listeners) {
      listeners = new Set();
      this.#listeners.set(channel, listeners);
      // The connection keeps trying, and subscribes anew by itself after an outage.
      this.#subscriber.subscribe(channel).catch((error: unknown) => {
        this.#logger.debug({ err: error, channel }, 'subscription ended');
      });
    }
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  #publish(channel: string, payload: string): void {
    // An announcement only saves somebody a second: everybody who listens polls as well.
    this.#connection.publish(channel, payload).catch(() => undefined);
  }
}
