/** The BullMQ queues: what people see of waiting jobs (`intake`), and the way to each host (`run-<host>`). */
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { messageOf } from '../src/errors.ts';
import type { Logger } from '../src/observability/logger.ts';
import { QueueName } from './keys.ts';

/** What Bull Board shows of a waiting job. No command, no environment: those stay in the database. */
export interface IntakeData {
  readonly owner: string;
  readonly type: string;
  readonly cpus: number;
  readonly memoryGb: number;
  readonly priority: number;
  readonly position: number;
}

/** One dispatch. The host reads all the rest from the database. */
export interface Dispatch {
  readonly jobId: string;
  readonly epoch: number;
}

export type IntakeQueue = Queue<IntakeData>;
export type RunQueue = Queue<Dispatch>;

/** Finished entries stay visible in Bull Board for a while, and no longer than Redis can afford. */
const FINISHED = { age: 24 * 3600, count: 1_000 } as const;

/** How many may drop one queue at once. */
const DROP_TRIES = 20;

export class Queues {
  readonly intake: IntakeQueue;
  readonly #run = new Map<string, RunQueue>();
  readonly #connection: Redis;
  readonly #prefix: string;
  readonly #logger: Logger;

  constructor(connection: Redis, prefix: string, logger: Logger) {
    this.#connection = connection;
    this.#prefix = prefix;
    this.#logger = logger;
    this.intake = this.#open<IntakeData>(QueueName.intake);
  }

  run(host: string): RunQueue {
    let queue = this.#run.get(host);
    if (!queue) {
      queue = this.#open<Dispatch>(QueueName.run(host));
      this.#run.set(host, queue);
    }
    return queue;
  }

  /** Takes a host's queue away with all that is in it: the rows say what becomes of its jobs. */
  async drop(host: string): Promise<void> {
    await this.#run.get(host)?.close();
    this.#run.delete(host);
    const queue = this.#open<Dispatch>(QueueName.run(host));
    try {
      for (let tries = 1; ; tries += 1) {
        try {
          return await queue.obliterate({ force: true });
        } catch (error) {
          // Somebody who drops it as well has taken away that it is paused, just before.
          if (tries === DROP_TRIES || !/non-paused/.test(messageOf(error))) throw error;
        }
      }
    } finally {
      await queue.close();
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.intake, ...this.#run.values()].map((queue) => queue.close()));
  }

  #open<Data>(name: string): Queue<Data> {
    const queue = new Queue<Data>(name, {
      connection: this.#connection,
      prefix: this.#prefix,
      // BullMQ keeps 10,000 events of each queue unless told otherwise; nothing here reads them.
      streams: { events: { maxLen: 100 } },
      // It asks for the version of Redis once. Where that fails, as in an outage, the queue fails for ever.
      skipVersionCheck: true,
      defaultJobOptions: { attempts: 1, removeOnComplete: FINISHED, removeOnFail: FINISHED },
    });
    queue.on('error', (error) => {
      this.#logger.debug({ err: error, queue: name }, 'queue connection');
    });
    return queue;
  }
}
