/**
 * Every name in Redis that TypeScript uses: keys, BullMQ queues and pub/sub channels. All begin with one prefix whose
 * hash tag keeps them in one slot of a Redis Cluster. The Lua scripts get the prefix; what they alone use is named in
 * `semaphore/includes/keys.lua`.
 */

export const DEFAULT_PREFIX = '{flashpods}';

/** Names of BullMQ queues; BullMQ puts the prefix before them itself. */
export const QueueName = { intake: 'intake', run: (host: string): string => `run-${host}` } as const;

export type Keys = Readonly<ReturnType<typeof createKeys>>;

/** @throws Error when the prefix has no hash tag */
export function createKeys(prefix: string = DEFAULT_PREFIX) {
  if (!/\{[^{}]+\}/.test(prefix)) throw new Error(`the prefix ${prefix} has no {hash tag}`);
  return {
    prefix,
    /** Hash: `nonce` (missing: Redis lost its data) and `run` (the Redis process that was last verified). */
    server: `${prefix}:server`,
    /** String: the deployment id of the installation that everything here is of. */
    installation: `${prefix}:installation`,
    /** String, there for no time at all: see `append-only-log.ts`. */
    renewal: `${prefix}:renewal`,
    /** String: how things stand for waiting jobs, as JSON; expires. See `waiting/outlook.ts`. */
    outlook: `${prefix}:outlook`,
    /** Hash: weights of the owners whose weight is not 1. */
    weights: `${prefix}:weights`,
    /** Hashes by owner: what its reservations add up to. */
    heldJobs: `${prefix}:held:jobs`,
    heldCpus: `${prefix}:held:cpus`,
    heldMemory: `${prefix}:held:memory`,
    /** Sorted set: all waiting jobs, by the time of their creation. */
    waitingAll: `${prefix}:waiting:all`,
    /** Sorted set: waiting jobs that have a longest wait, by its end. */
    waitingDeadlines: `${prefix}:waiting:deadlines`,
    /** String, which expires: written to see whether Redis takes it. */
    health: `${prefix}:health`,
    /** Hash by owner: how many jobs wait. */
    waitingCounts: `${prefix}:waiting:counts`,
    /** Pub/sub: the payload is the id of a job whose row may have changed. */
    lookChannel: `${prefix}:look`,
    /** Pub/sub: something that a dispatcher may have waited for has happened. */
    wakeChannel: `${prefix}:wake`,
    /** Pub/sub: the payload is a job's id, or empty when the host shall synchronise. */
    hostChannel: (host: string): string => `${prefix}:look:${host}`,
    /** Hash: what a host's worker says of images. */
    hostImages: (name: string): string => `${prefix}:host:${name}:images`,
    /** String, which expires: the images that a host has. */
    hostStock: (name: string): string => `${prefix}:host:${name}:stock`,
    /** Hash: which images are wished for on a host. */
    hostWishes: (name: string): string => `${prefix}:host:${name}:wishes`,
    /** Hash, which expires: images that the host is to remove. */
    hostRemovals: (name: string): string => `${prefix}:host:${name}:removals`,
    /** String, which expires: the caches that a host has. */
    hostCaches: (name: string): string => `${prefix}:host:${name}:caches`,
    /** Hash, which expires: caches that the host is to remove. */
    hostCacheRemovals: (name: string): string => `${prefix}:host:${name}:cache-removals`,
    /** Hash by host, which expires: what became of one of these. */
    cacheRemoval: (id: string): string => `${prefix}:cache-removal:${id}`,
    /** The same of images. */
    imageRemoval: (id: string): string => `${prefix}:image-removal:${id}`,
    /** Hash: for which owner each of them was wished for first. */
    hostWishOwners: (name: string): string => `${prefix}:host:${name}:wish-owners`,
    /** Pub/sub: an image is wished for on the host, or something is to be removed there. */
    imagesChannel: (host: string): string => `${prefix}:images:${host}`,
    /** String of one waiting job. */
    waitingJob: (jobId: string): string => `${prefix}:waiting:entry:${jobId}`,
    /** String of one bucket of the API's rate limit, see `rate-limit/take.lua`. */
    rateLimit: (bucket: string): string => `${prefix}:rate:${bucket}`,
  };
}
