/** Everything of Redis that a process role needs, made in one place and closed in one order. */
import { once } from '../src/lifecycle/once.ts';
import { stopInOrder } from '../src/lifecycle/stop-in-order.ts';
import type { Logger } from '../src/observability/logger.ts';
import { within } from '../src/timing/within.ts';
import { RedisAnnouncements } from './announcements.ts';
import { connect, disconnect } from './connection.ts';
import { RedisHostControl } from './host-control.ts';
import { ImageBoard } from './images/image-board.ts';
import type { CacheRemoval } from '../src/caches/cache.ts';
import type { ImageRemoval } from '../src/hosts/removal.ts';
import { CacheBoard } from './caches.ts';
import { RedisJobQueue } from './job-queue.ts';
import { createKeys } from './keys.ts';
import { Queues } from './queues.ts';
import { RedisRemovals } from './removals.ts';
import { Semaphore } from './semaphore/semaphore.ts';
import { OutlookBoard } from './waiting/outlook.ts';
import { WaitingIndex } from './waiting/waiting-index.ts';

export interface QueueResourcesOptions {
  readonly redisUrl: string;
  readonly logger: Logger;
  /** With a `{hash tag}`; tests own one each. */
  readonly prefix?: string;
  /** What a start may add to a job's timeout, ms. Default 30,000. */
  readonly startAllowanceMs?: number;
  /** Time between SIGTERM and SIGKILL, ms. Default 10,000. */
  readonly graceMs?: number;
  /** How much later a job may come and still pass one whose priority is one step lower, ms. Default 600,000. */
  readonly priorityAgeingMs?: number;
}

/** How long a start waits for Redis to say whose it is. */
const CLAIM_MS = 2_000;

export type QueueResources = Readonly<ReturnType<typeof createQueueResources>>;

/** Connects in the background: the caller may start while Redis is away. */
export function createQueueResources(options: QueueResourcesOptions) {
  const { redisUrl, logger } = options;
  const keys = createKeys(options.prefix);
  const connection = connect(redisUrl, 'producer', logger);
  const subscriber = connect(redisUrl, 'worker', logger);
  const queues = new Queues(connection, keys.prefix, logger);
  const semaphore = new Semaphore(connection, keys);
  const waiting = new WaitingIndex(connection, keys, options.priorityAgeingMs ?? 600_000);
  const outlook = new OutlookBoard(connection, keys);
  const images = new ImageBoard(connection, keys);
  const caches = new CacheBoard(connection, keys);
  const channel = keys.imagesChannel;
  const imageRemovals = new RedisRemovals<ImageRemoval>(connection, {
    asked: keys.hostRemovals,
    outcomes: keys.imageRemoval,
    channel,
  });
  const cacheRemovals = new RedisRemovals<CacheRemoval>(connection, {
    asked: keys.hostCacheRemovals,
    outcomes: keys.cacheRemoval,
    channel,
  });
  const overheadMs = (options.startAllowanceMs ?? 30_000) + (options.graceMs ?? 10_000);
  const queue = new RedisJobQueue({ connection, queues, waiting, outlook, semaphore, overheadMs });
  const announcements = new RedisAnnouncements(connection, subscriber, keys, logger);
  const hostControl = new RedisHostControl(connection, queues, semaphore);
  const close = once(() =>
    stopInOrder(
      [
        ['queues', () => queues.close()],
        ['subscriber', () => disconnect(subscriber)],
        ['connection', () => disconnect(connection)],
      ],
      logger,
    ),
  );
  /** Whether Redis takes a write, within 2 s; for health. With a full disk it still answers, and refuses those. */
  const ping = async (): Promise<void> => void (await connection.set(keys.health, '', 'PX', 1_000));
  /**
   * Makes this Redis the one of an installation, unless it is one's already.
   * @returns the id of the installation that has it; null when Redis does not answer
   */
  const claim = async (deploymentId: string): Promise<string | null> => {
    try {
      if (connection.status !== 'ready') {
        const { promise, resolve } = Promise.withResolvers<void>();
        connection.once('ready', resolve).once('close', resolve);
        await within(promise, CLAIM_MS, undefined);
      }
      await connection.setnx(keys.installation, deploymentId);
      return await connection.get(keys.installation);
    } catch {
      return null;
    }
  };
  return {
    redisUrl,
    claim,
    connection,
    keys,
    queues,
    semaphore,
    waiting,
    overheadMs,
    images,
    imageRemovals,
    caches,
    cacheRemovals,
    outlook,
    queue,
    announcements,
    hostControl,
    ping,
    close,
  };
}
