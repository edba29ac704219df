/**
 * Ends jobs that have waited longer than they may. Done by the dispatcher that leads, and by every API process, so that
 * it happens also while no worker is up: the compare-and-set lets one of them through. While Redis is away the database
 * says whose time is over, which costs as much as there are waiting jobs.
 */
import type { JobLifecycle } from '../src/jobs/lifecycle.ts';
import type { JobQueries } from '../src/jobs/queries.ts';
import type { QueueResources } from './resources.ts';

export interface QueueTimeoutsOptions {
  readonly resources: Pick<QueueResources, 'announcements' | 'connection' | 'queue' | 'waiting'>;
  readonly lifecycle: JobLifecycle;
  readonly queries: JobQueries;
}

const AT_ONCE = 100;
const ACTOR = 'queue';

export class QueueTimeouts {
  readonly #o: QueueTimeoutsOptions;

  constructor(options: QueueTimeoutsOptions) {
    this.#o = options;
  }

  /** Those that are due now; costs next to nothing when there are none. @throws when Redis or the database is away */
  async end(): Promise<void> {
    const { queue, waiting } = this.#o.resources;
    for (;;) {
      const due = await waiting.overdue(Date.now(), AT_ONCE);
      // At once: the database commits them together.
      await Promise.all(
        due.map(async (jobId) => {
          await this.#end(jobId);
          await queue.withdraw(jobId);
        }),
      );
      if (due.length < AT_ONCE) return;
    }
  }

  /** The same while Redis is away. What it holds of them is withdrawn when it is back. @throws when the database is away */
  async endWithoutQueue(): Promise<void> {
    const due = await this.#o.queries.overdue(Date.now(), AT_ONCE);
    for (const { id } of due) await this.#end(id);
  }

  async #end(jobId: string): Promise<void> {
    const { resources, lifecycle, queries } = this.#o;
    const row = await queries.get(jobId);
    if (!row) return;
    const [wait] = await resources.queue.waits([row]).catch(() => []);
    const last = wait === undefined || wait.position === null ? '' : ` Last reason: ${wait.reason}`;
    const failed = await lifecycle.failedToStart(
      jobId,
      null,
      {
        reason: 'queue_timeout',
        errorMessage: `The job did not start within ${row.maxQueueSeconds} seconds.${last}`,
        waitingReason: last === '' ? undefined : wait?.reason,
      },
      ACTOR,
    );
    if (failed) resources.announcements.announce(jobId, null);
  }

  /** Looks every so often until the function that is returned is called; that waits for a look under way. */
  every(ms: number): () => Promise<void> {
    let looking = Promise.resolve();
    let busy = false;
    const timer = setInterval(() => {
      if (busy) return;
      busy = true;
      const isThere = this.#o.resources.connection.status === 'ready';
      // Away: the next look may tell.
      looking = (isThere ? this.end() : this.endWithoutQueue())
        .catch(() => undefined)
        .finally(() => (busy = false));
    }, ms);
    return async () => {
      clearInterval(timer);
      await looking;
    };
  }
}
