/**
 * How things stand for those who wait, as the dispatcher that leads last saw it: kept in Redis for everybody who shows
 * a waiting job. It has an entry for each job that the dispatcher looked at; what is true of a job further back follows
 * from its place.
 */
import type { Redis } from 'ioredis';
import type { HostState } from '../../src/jobs/ports.ts';
import type { Why } from '../choose.ts';
import type { Keys } from '../keys.ts';
import type { Amount } from '../../src/jobs/amount.ts';

export interface HostOutlook {
  readonly name: string;
  readonly state: HostState;
  readonly capacity: Amount;
  /** What a job without a wish for disk gets at most, MiB. */
  readonly diskMostMib?: number;
  /** Never negative. */
  readonly free: Amount;
}

export interface JobOutlook {
  readonly why: Why;
  /** Latest start, ms since the Unix epoch; null when nobody can know. */
  readonly startsAt: number | null;
  /** Host that fetches its image. */
  readonly pullOn?: string;
  /** What that is at, a few words. */
  readonly pullStep?: string;
}

export interface Outlook {
  /** When it was made, by Redis's clock, ms since the Unix epoch. */
  readonly at: number;
  /** Redis has lost its data, and starts wait until it is whole again. */
  readonly recovering: boolean;
  /** By name. */
  readonly hosts: readonly HostOutlook[];
  readonly jobs: Readonly<Record<string, JobOutlook>>;
  /** For the jobs further back, see `startOfPosition`; null when nothing is known of starts. */
  readonly plan: { readonly at: number; readonly offsets: readonly number[]; readonly spanMs: number } | null;
}

/** A dispatcher renews it each second; after this time there is none. */
const LASTING_MS = 10_000;
/** A list of a hundred waiting jobs, and the next one, read it once. */
const FRESH_MS = 250;

export class OutlookBoard {
  readonly #connection: Redis;
  readonly #key: string;
  #cached: { until: number; outlook: Promise<Outlook | null> } | undefined;

  constructor(connection: Redis, keys: Keys) {
    this.#connection = connection;
    this.#key = keys.outlook;
  }

  async publish(outlook: Outlook): Promise<void> {
    await this.#connection.set(this.#key, JSON.stringify(outlook), 'PX', LASTING_MS);
  }

  /** As much as {@link FRESH_MS} old; null when nobody dispatches. @throws when Redis does not answer */
  read(): Promise<Outlook | null> {
    const now = performance.now();
    if (this.#cached && now < this.#cached.until) return this.#cached.outlook;
    const outlook = this.#connection
      .get(this.#key)
      .then((text) => (text === null ? null : (JSON.parse(text) as Outlook)));
    const asked = { until: now + FRESH_MS, outlook };
    this.#cached = asked;
    outlook.catch(() => {
      if (this.#cached === asked) this.#cached = undefined;
    });
    return outlook;
  }
}
