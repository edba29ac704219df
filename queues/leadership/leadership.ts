/**
 * One dispatcher leads at a time. This serves fairness only: two that believe to lead can't start a job twice or
 * exceed a capacity, they can only disagree about whose turn it is.
 */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { scriptsOf } from '../script.ts';

const script = scriptsOf(import.meta.url);
const LEAD = script('lead');
const RESIGN = script('resign');

/** How long a leader that was killed stays in the way. Renewed with every look at the queue, at least each second. */
const LEAD_MS = 4_000;

export class Leadership {
  readonly #connection: Redis;
  readonly #prefix: string;
  readonly #host: string;
  readonly #token = randomUUID();
  #first = true;

  constructor(connection: Redis, prefix: string, host: string) {
    this.#connection = connection;
    this.#prefix = prefix;
    this.#host = host;
  }

  /** Takes or renews the lead. The first call takes it from an earlier process of the same host. */
  async lead(): Promise<boolean> {
    const args = [this.#host, this.#token, LEAD_MS, this.#first ? 1 : 0];
    const result = await LEAD.run(this.#connection, [this.#prefix], args);
    this.#first = false;
    return result === 1;
  }

  async resign(): Promise<void> {
    await RESIGN.run(this.#connection, [this.#prefix], [this.#host, this.#token]);
  }
}
