/**
 * Group commit: writes that are asked for while another one is under way, or in the same turn of the event loop, share
 * one transaction, and with it one flush to the disk. A promise settles when its transaction is committed, so what was
 * answered for is as durable as if it had been alone.
 *
 * Errors of one write do not touch the others: those before it are committed without it, then it is tried alone, and
 * what it throws there is its error. So a write may run several times; it must have no effect outside its transaction.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { Knex } from 'knex';
import { pauseAfter } from '../timing/backoff.ts';
import { pause } from '../timing/bell.ts';

export interface WriteQueueOptions {
  readonly transact: (work: (trx: Knex.Transaction) => Promise<void>) => Promise<void>;
  /** Whether another process holds the write lock: nothing was done, and it is tried again. */
  readonly isBusy: (error: unknown) => boolean;
  /** What a caller is told about an error. */
  readonly translate: (error: unknown) => unknown;
}

interface Write {
  readonly work: (trx: Knex.Transaction) => Promise<unknown>;
  /** `performance.now()` after which it is not tried again. */
  readonly deadline: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** A transaction holds the connection and most of the time the event loop, some 0.2 ms a write. */
const MOST_AT_ONCE = 64;

/** Between two tries while another process holds the write lock. */
export const BUSY_BACKOFF = { firstMs: 5, longestMs: 60, jitter: 0.5 } as const;

export class WriteQueue {
  readonly #o: WriteQueueOptions;
  #waiting: Write[] = [];
  #running = false;

  constructor(options: WriteQueueOptions) {
    this.#o = options;
  }

  /** In the order in which they are asked for, one transaction at a time. @param patienceMs how long a held lock is waited for */
  write<T>(work: (trx: Knex.Transaction) => Promise<T>, patienceMs: number): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const deadline = performance.now() + patienceMs;
      this.#waiting.push({ work, deadline, resolve: resolve as (value: unknown) => void, reject });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      // What came with the same poll of the sockets comes along.
      await turn();
      await this.#settle(this.#waiting.splice(0, MOST_AT_ONCE));
    }
    this.#running = false;
  }

  /** Never throws: every write of the batch is settled afterwards. */
  async #settle(batch: readonly Write[]): Promise<void> {
    let writes = batch;
    for (let attempt = 0; writes.length > 0; attempt += 1) {
      const values: unknown[] = [];
      try {
        await this.#o.transact(async (trx) => {
          values.length = 0;
          for (const { work } of writes) values.push(await work(trx));
        });
        for (const [index, write] of writes.entries()) write.resolve(values[index]);
        return;
      } catch (error) {
        if (this.#o.isBusy(error)) {
          writes = refuseLate(writes, this.#o.translate(error));
          if (writes.length > 0) await pause(pauseAfter(attempt + 1, BUSY_BACKOFF));
          continue;
        }
        const failed = writes[values.length];
        // The commit itself failed, or there is nobody else to protect.
        if (!failed || writes.length === 1) {
          const told = this.#o.translate(error);
          for (const { reject } of writes) reject(told);
          return;
        }
        await this.#settle(writes.slice(0, values.length));
        await this.#settle([failed]);
        writes = writes.slice(values.length + 1);
      }
    }
  }
}

/** Gives up those whose time is over. @returns the others */
function refuseLate(writes: readonly Write[], error: unknown): readonly Write[] {
  const now = performance.now();
  const late = writes.filter(({ deadline }) => deadline <= now);
  for (const { reject } of late) reject(error);
  return late.length === 0 ? writes : writes.filter(({ deadline }) => deadline > now);
}
