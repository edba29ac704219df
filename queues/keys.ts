/**
 * Every name in Redis that TypeScript uses: keys, BullMQ queues and pub/sub channels. All begin with one prefix whose
 * hash tag keeps them in one slot of a Redis Cluster. The Lua scripts get the prefix; what they alone use is named in
 * `semaphore/includes/keys.lua`.
 */

export const DEFAULT_PREFIX = '{flashpods}';

/** Names of BullMQ queues; BullMQ puts the prefix before them itself. */
export const QueueName = {
  intake: 'intake',
  run: (host: string): string => `run-${host}`,
} as const;

export interface Keys {
  readonly prefix: string;
  /** Hash: `nonce` (missing: Redis lost its data) and `run` (the Redis process that was last verified). */
  readonly server: string;
  /** String, there for no time at all: see `append-only-log.ts`. */
  readonly renewal: string;
  /** String: how things stand for waiting jobs, as JSON; expires. See `waiting/outlook.ts`. */
  readonly outlook: string;
  /** Hash: weights of the owners whose weight is not 1. */
  readonly weights: string;
  /** Hashes by owner: what its reservations add up to. */
  readonly heldJobs: string;
  readonly heldCpus: string;
  readonly heldMemory: string;
  /** Sorted set: all waiting jobs, by the time of their creation. */
  readonly waitingAll: string;
  /** Sorted set: waiting jobs that have a longest wait, by its end. */
  readonly waitingDeadlines: string;
  /** Hash by owner: how many jobs wait. */
  readonly waitingCounts: string;
  /** Pub/sub: the payload is the id of a job whose row may have changed. */
  readonly lookChannel: string;
  /** Pub/sub: something that a dispatcher may have waited for has happened. */
  readonly wakeChannel: string;
  /** Pub/sub: the payload is a job's id, or empty when the host shall synchronise. */
  hostChannel(host: string): string;
  /** Hash: what a host's worker says of images. */
  hostImages(name: string): string;
  /** Hash: which images are wished for on a host. */
  hostWishes(name: string): string;
  /** Pub/sub: an image is wished for on the host. */
  imagesChannel(host: string): string;
  /** String of one waiting job. */
  waitingJob(jobId: string): string;
  /** String of one bucket of the API's rate limit, see `rate-limit/take.lua`. */
  rateLimit(bucket: string): string;
}

/** @throws Error when the prefix has no hash tag */
export function createKeys(prefix: string = DEFAULT_PREFIX): Keys {
  if (!/\{[^{}]+\}/.test(prefix)) throw new Error(`the prefix ${prefix} has no {hash tag}`);
  return {
    prefix,
    server: `${prefix}:server`,
    renewal: `${prefix}:renewal`,
    outlook: `${prefix}:outlook`,
    weights: `${prefix}:weights`,
    heldJobs: `${prefix}:held:jobs`,
    heldCpus: `${prefix}:held:cpus`,
    heldMemory: `${prefix}:held:memory`,
    waitingAll: `${prefix}:waiting:all`,
    waitingDeadlines: `${prefix}:waiting:deadlines`,
    waitingCounts: `${prefix}:waiting:counts`,
    lookChannel: `${prefix}:look`,
    wakeChannel: `${prefix}:wake`,
    hostChannel: (host) => `${prefix}:look:${host}`,
    hostImages: (name) => `${prefix}:host:${name}:images`,
    hostWishes: (name) => `${prefix}:host:${name}:wishes`,
    imagesChannel: (host) => `${prefix}:images:${host}`,
    waitingJob: (jobId) => `${prefix}:waiting:entry:${jobId}`,
    rateLimit: (bucket) => `${prefix}:rate:${bucket}`,
  };
}
