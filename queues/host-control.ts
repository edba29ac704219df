/** {@link HostControl} on Redis: what people decide about hosts. */
import type { Redis } from 'ioredis';
import type { HostControl } from '../src/jobs/ports.ts';
import { ask } from './connection.ts';
import type { Queues } from './queues.ts';
import { isRefusal } from './semaphore/refusal.ts';
import type { Semaphore } from './semaphore/semaphore.ts';

export class RedisHostControl implements HostControl {
  readonly #connection: Redis;
  readonly #queues: Queues;
  readonly #semaphore: Semaphore;

  constructor(connection: Redis, queues: Queues, semaphore: Semaphore) {
    this.#connection = connection;
    this.#queues = queues;
    this.#semaphore = semaphore;
  }

  async drainHost(name: string, draining: boolean): Promise<void> {
    await this.#semaphore.drain(name, draining).catch((error: unknown) => {
      if (!isRefusal(error, 'unknown_host')) throw error;
    });
  }

  async forgetHost(name: string): Promise<boolean> {
    try {
      await this.#semaphore.forget(name);
    } catch (error) {
      if (isRefusal(error, 'lease_live')) return false;
      if (!isRefusal(error, 'unknown_host')) throw error;
    }
    await ask(this.#connection, 'forgetHost', () => this.#queues.drop(name));
    return true;
  }
}
