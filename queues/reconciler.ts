/**
 * Makes Redis agree with the database, which is the truth: waiting rows that the queue has lost are put back in their
 * place, entries whose job waits no more are taken out, and after Redis lost its data everything is written anew.
 */
import { randomUUID } from 'node:crypto';
import type { Job } from '../src/jobs/job.ts';
import type { EventJournal } from '../src/jobs/journal.ts';
import type { HostRegistry } from '../src/jobs/ports.ts';
import { isWaiting } from '../src/jobs/states.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { DispatchOptions } from './dispatch.ts';

export interface ReconcilerOptions extends DispatchOptions {
  readonly journal: Pick<EventJournal, 'bounds'>;
  readonly hosts: HostRegistry;
  readonly logger: Logger;
  /** After Redis lost its data, known hosts have this time to come back before dispatch goes on, ms. */
  readonly leaseMs: number;
}

/** Rows, or entries, that one reconciliation looks at: what it costs does not grow with the queue. */
const PAGE = 500;
const PENDING_PAGES = 20;
/** A row that is younger is still on its way through the API. */
const SETTLED_MS = 2_000;
const AT_ONCE = 50;

export class Reconciler {
  readonly #o: ReconcilerOptions;
  #afterPosition = 0;
  #intakeOffset = 0;
  #restoration: { readonly token: string; readonly since: number; filled: boolean } | undefined;

  constructor(options: ReconcilerOptions) {
    this.#o = options;
  }

  /** One round: all rows that never reached the queue, and one page each of the waiting rows and of the entries. */
  async reconcile(): Promise<void> {
    await this.#redrain();
    await this.#enqueuePending();
    await this.#putBack(await this.#o.queries.givenBack(PAGE));
    const rows = await this.#o.queries.waiting(this.#afterPosition, PAGE);
    this.#afterPosition = rows.length < PAGE ? 0 : (rows.at(-1)?.position ?? 0);
    await this.#putBack(rows.filter((row) => row.status === 'queued'));
    await this.#clearIntake();
  }

  /**
   * After Redis lost its data. Dispatch goes on when all waiting rows are in the queue again, in their order, and the
   * hosts that the database knows have said what they hold, or had a lease's time to do so.
   * @param keepLead called between pages; false ends the attempt
   * @returns whether dispatch may go on; call again until it may
   */
  async restore(keepLead: () => Promise<boolean>): Promise<boolean> {
    const { resources, hosts, logger, leaseMs } = this.#o;
    const known = await hosts.known();
    if (!this.#restoration) {
      this.#restoration = { token: randomUUID(), since: performance.now(), filled: false };
      await resources.semaphore.restoring(this.#restoration.token);
      // Where there never was a job, nothing can have been lost: it is the first start.
      const { newest } = await this.#o.journal.bounds();
      logger[newest > 0 ? 'warn' : 'info'](
        'Redis holds no data of this installation; writing them anew from the database',
      );
    }
    const restoration = this.#restoration;
    for (const { name, capacity, draining } of known) {
      await resources.semaphore.expect(name, capacity, draining);
    }
    if (!restoration.filled && !(await this.#fill(keepLead))) return false;
    restoration.filled = true;
    const silent = (await resources.semaphore.view()).hosts.filter(
      (host) => !host.synchronised && !host.lost,
    );
    // guard: restoration-waits
    if (silent.length > 0 && performance.now() - restoration.since < leaseMs) return false;
    await this.#redrain();
    this.#restoration = undefined;
    if (!(await resources.semaphore.found(restoration.token))) return false;
    if (known.length > 0)
      logger.info({ silent: silent.map((host) => host.name) }, 'Redis is whole again; dispatch goes on');
    return true;
  }

  async #fill(keepLead: () => Promise<boolean>): Promise<boolean> {
    for (let after = 0; ;) {
      const rows = await this.#o.queries.waiting(after, PAGE);
      await this.#putBack(rows);
      const last = rows.at(-1);
      if (!last || rows.length < PAGE) return true;
      after = last.position;
      if (!(await keepLead())) return false;
    }
  }

  /** A host that was drained or undrained while Redis was away, or that Redis knows from before. */
  async #redrain(): Promise<void> {
    const { hosts, resources } = this.#o;
    for (const { name } of await hosts.known()) {
      let told: boolean | undefined;
      // Until it has not changed meanwhile: the telling overwrote any other decision made just before it.
      for (let host = await hosts.get(name); host && host.draining !== told; host = await hosts.get(name)) {
        told = host.draining;
        await resources.hostControl.drainHost(name, told);
      }
    }
  }

  async #enqueuePending(): Promise<void> {
    let beforePosition: number | null = null;
    for (let page = 0; page < PENDING_PAGES; page += 1) {
      const { jobs } = await this.#o.queries.list({
        owner: null,
        states: ['pending'],
        type: null,
        label: null,
        limit: PAGE,
        beforePosition,
      });
      const now = Date.now();
      // A row from the future: the clock was set back, or the API's is ahead of ours.
      // guard: queued-from-the-future
      const settled = jobs.filter((job) => job.createdAt > now || now - job.createdAt > SETTLED_MS);
      await inBatches(settled, (job) => this.#enqueue(job));
      const last = jobs.at(-1);
      if (!last || jobs.length < PAGE) return;
      beforePosition = last.position;
    }
  }

  async #putBack(rows: readonly Job[]): Promise<void> {
    const missing = new Set(await this.#o.resources.waiting.missing(rows.map((row) => row.id)));
    const lost = rows.filter((row) => missing.has(row.id));
    if (lost.length > 0) this.#o.logger.info({ jobs: lost.length }, 'putting jobs back into the queue');
    await inBatches(lost, (row) => this.#enqueue(row));
  }

  /** A row that is dispatched just now is harmless: the dispatcher finds that it waits no more, and withdraws it. */
  async #enqueue(row: Job): Promise<void> {
    await this.#o.resources.queue.enqueue(row);
    if (row.status !== 'pending') return;
    const queued = await this.#o.lifecycle.queued(row.id, 'reconciler');
    if (queued) this.#o.resources.announcements.announce(row.id, null);
  }

  /** What a crash left in `intake` for people to see though the job waits no more. */
  async #clearIntake(): Promise<void> {
    const { resources, queries } = this.#o;
    const entries = await resources.queues.intake.getPrioritized(
      this.#intakeOffset,
      this.#intakeOffset + PAGE - 1,
    );
    this.#intakeOffset = entries.length < PAGE ? 0 : this.#intakeOffset + PAGE;
    const ids = entries.flatMap((entry) => entry?.id ?? []);
    for (const jobId of await resources.waiting.missing(ids)) {
      const row = await queries.get(jobId);
      if (row && isWaiting(row.status)) await resources.queue.enqueue(row);
      else await resources.queue.withdraw(jobId);
    }
  }
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += AT_ONCE) {
    await Promise.all(items.slice(start, start + AT_ONCE).map(work));
  }
}
