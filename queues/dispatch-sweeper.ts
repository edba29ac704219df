/**
 * What only time reveals: dispatches that a crash left between two steps, hosts that do not come back, jobs that have
 * waited too long. Costs as much as there are reservations that nobody has claimed, not waiting jobs.
 */
import type { Job } from '../src/jobs/job.ts';
import { failurePatch } from '../src/jobs/lifecycle.ts';
import { isHosted, isTerminal } from '../src/jobs/states.ts';
import type { Logger } from '../src/observability/logger.ts';
import { type DispatchOptions, DispatchSteps } from './dispatch.ts';
import { QueueTimeouts } from './queue-timeouts.ts';
import type { FarmView, HostEntry, Reservation } from './semaphore/farm-view.ts';

export interface SweeperOptions extends DispatchOptions {
  readonly logger: Logger;
  /** A host that was silent for this time has lost its jobs, ms. */
  readonly hostLostMs: number;
  /** A host that lives is heard of within this time, ms. */
  readonly leaseMs: number;
}

/** A dispatch needs some 5 ms for all of its steps; what has not moved for this time was left behind. */
const LEFT_BEHIND_MS = 2_000;
/** Sweeps come each second; a longer gap means that Redis was away, or this process stood still or did not lead. */
const GAP_MS = 3_000;
const ACTOR = 'sweeper';

export class Sweeper {
  readonly #o: SweeperOptions;
  readonly #steps: DispatchSteps;
  readonly #queueTimeouts: QueueTimeouts;
  /** `performance.now()` of the last sweep, and since when there was no gap between two. */
  #lastSweep = -Infinity;
  #listeningSince = 0;

  constructor(options: SweeperOptions) {
    this.#o = options;
    this.#steps = new DispatchSteps(options);
    this.#queueTimeouts = new QueueTimeouts(options);
  }

  /** @param thorough also asks the database for rows that lost hosts still answer for */
  async sweep(view: FarmView, thorough: boolean): Promise<void> {
    await this.#queueTimeouts.end();
    const hosts = new Map(view.hosts.map((host) => [host.name, host]));
    for (const reservation of view.reservations) {
      const ageMs = view.now - reservation.reservedAt;
      // One from the future was made before Redis's clock was set back: nobody knows when, so it is looked at now.
      // guard: reserved-in-the-future
      if (reservation.claimed || (ageMs >= 0 && ageMs < LEFT_BEHIND_MS)) continue;
      const host = hosts.get(reservation.host);
      // Before a host has said what it holds, a claim may be missing that a restarted Redis has lost.
      // guard: unsynchronised-host
      if (host?.synchronised) await this.#finish(reservation, host);
    }
    // A host that could not be heard is not silent: after an outage of Redis the hosts that live get the time to say so.
    const heardOut = this.#listenedForMs() >= this.#o.leaseMs;
    for (const host of view.hosts) {
      // guard: heard-out
      const silent = heardOut && view.now - host.beatAt > this.#o.hostLostMs;
      if (host.lost ? thorough : silent) await this.#lose(host);
    }
  }

  /** For how long there has been no gap between sweeps, ms. */
  #listenedForMs(): number {
    const now = performance.now();
    if (now - this.#lastSweep > GAP_MS) this.#listeningSince = now;
    this.#lastSweep = now;
    return now - this.#listeningSince;
  }

  /** Finishes a dispatch that nobody has claimed, or takes it back. */
  async #finish(reservation: Reservation, host: HostEntry): Promise<void> {
    const { resources, queries, logger } = this.#o;
    const { jobId, epoch } = reservation;
    const row = await queries.get(jobId);
    const own = row && isHosted(row.status) && row.epoch === epoch && row.host === host.name;
    // guard: half-done-dispatch
    if (own && host.leaseLive) {
      // The dispatcher died after it had taken the row.
      await this.#steps.finish(reservation, true);
      return;
    }
    if (!(await this.#steps.takeBack(reservation))) return;
    logger.info({ job_id: jobId, epoch, host: host.name }, 'took a dispatch back that came to nothing');
    if (own) await this.#giveBack(row);
    else if (!row || isTerminal(row.status)) await resources.queue.withdraw(jobId);
  }

  /** The host went away before it claimed the job: another may have it, unless the job was cancelled meanwhile. */
  async #giveBack(row: Job): Promise<void> {
    const { resources, lifecycle } = this.#o;
    const queued = await lifecycle.givenBack(row, 'unclaimed', ACTOR);
    if (queued) await resources.queue.enqueue(queued);
    else await this.#endLost(row);
    resources.announcements.announce(row.id, null);
  }

  /** Its jobs are over, and its capacity goes. It may come back and must synchronise then. */
  async #lose(host: HostEntry): Promise<void> {
    const { resources, queries, logger, hostLostMs } = this.#o;
    if (!(await resources.semaphore.lose(host.name, hostLostMs))) return;
    if (!host.lost) logger.warn({ host: host.name }, 'the host did not come back; its jobs are lost');
    for (const row of await queries.hostedOn(host.name)) {
      await this.#endLost(row);
      resources.announcements.announce(row.id, host.name);
    }
  }

  async #endLost(row: Job): Promise<void> {
    const { lifecycle } = this.#o;
    const failure = { code: 'host_lost', message: `The host ${row.host} did not come back.` } as const;
    // The process that finishes this after a crash must know what was lost.
    await lifecycle.endingDecided(row.id, 'lost', ACTOR, { epoch: row.epoch, patch: failurePatch(failure) });
    if (await lifecycle.cancelledUnrun(row, ACTOR)) return;
    await lifecycle.lost(row, failure, ACTOR);
  }
}
