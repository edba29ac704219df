/**
 * All the dispatches that this process supervises, each by exactly one {@link JobRun}: a second call for the same one
 * joins the first. It neither knows nor cares who asks: the host's queue, the recovery at start, or a reconciliation.
 */
import type { Sandbox } from '../src/containers/sandbox.ts';
import { dispatchId } from '../src/ids.ts';
import type { Job } from '../src/jobs/job.ts';
import { isHosted } from '../src/jobs/states.ts';
import { JobRun, type RunResult } from './job-run.ts';
import { persist } from './persist.ts';
import type { SupervisionResources } from './resources.ts';
import { hasWritten, publishCaches } from './stages/caches.ts';

interface Supervision {
  readonly run: JobRun;
  readonly result: Promise<RunResult | null>;
}

export class Supervisor {
  readonly #r: SupervisionResources;
  readonly #detach = new AbortController();
  readonly #held = new Map<string, Supervision>();
  readonly #starting = new Map<string, Promise<RunResult | null>>();
  /** Sandboxes of ended jobs whose caches are still being kept, by their ids. */
  readonly #leaving = new Map<string, Promise<void>>();

  constructor(resources: SupervisionResources) {
    this.#r = resources;
  }

  /**
   * Runs a dispatch, or joins the run of it that is going on.
   * @returns null when there is nothing to run: the row has moved on, or the dispatch was given back
   * @throws the detach reason when {@link detach} came first; everything is left for a successor then
   */
  supervise(jobId: string, epoch: number): Promise<RunResult | null> {
    const id = dispatchId(jobId, epoch);
    const going = this.#held.get(id)?.result ?? this.#starting.get(id);
    if (going) return going;
    const begun = this.#begin(jobId, epoch).finally(() => this.#starting.delete(id));
    this.#starting.set(id, begun);
    return begun;
  }

  /** Says that a job's row may have changed. */
  look(jobId: string): void {
    for (const { run } of this.#held.values()) if (run.job.id === jobId) void run.look();
  }

  /** Says that any row may have changed, since announcements can be lost. One query for all. @throws the database's */
  async lookAtAll(): Promise<void> {
    const rows = await this.#r.queries.hostedOn(this.#r.host);
    for (const { run } of this.#held.values())
      void run.look(rows.find((row) => row.id === run.job.id && row.epoch === run.job.epoch));
  }

  /** Dispatches held now, as `<job>-<epoch>`. */
  held(): ReadonlySet<string> {
    return new Set([...this.#held.keys(), ...this.#starting.keys()]);
  }

  /** Lets go of everything without ending it; containers run on. Settles when nothing is held any more. */
  async detach(): Promise<void> {
    this.#detach.abort(new Error('detached'));
    await Promise.allSettled([
      ...this.#starting.values(),
      ...this.#leaving.values(),
      ...[...this.#held.values()].map(({ result }) => result),
    ]);
  }

  /**
   * Compares what is on this host with the database: supervises every row that this host answers for, and removes
   * every sandbox that no such row stands behind. Changes nothing when Podman or the database does not answer.
   * @param settledMs rows that became `starting` more recently are left to the queue, which is about to bring them
   * @throws what Podman or the database threw
   * @returns `hosted`: the jobs that this host answers for; `found`: those with a container, and those about to have
   *   one. `endsForeign`: a job whose row has moved on without this host still runs, and is being ended
   */
  async reconcile(
    settledMs: number,
  ): Promise<{ hosted: { job: Job; found: boolean }[]; endsForeign: boolean }> {
    const found = await this.#r.runtime.sandboxes();
    const recorded = await this.#r.records.all();
    const holding = [...this.#held].filter(([, { run }]) => run.holdsCapacity);
    // Read after Podman: a dispatch that began in between is in the rows, so it can't be taken for a leftover.
    const rows = await this.#r.queries.hostedOn(this.#r.host);
    const wanted = new Set(rows.map((row) => dispatchId(row.id, row.epoch)));

    for (const row of rows) {
      if (row.status === 'starting' && row.startingAt !== null) {
        const ageMs = Date.now() - row.startingAt;
        // One from the future was dispatched before the clock was set back: nobody knows when.
        // guard: row-from-the-future
        if (ageMs >= 0 && ageMs < settledMs) continue;
      }
      this.#superviseQuietly(row.id, row.epoch);
    }
    const isWanted = (id: string): boolean => wanted.has(id) || this.held().has(id);
    const discarded = new Set<string>();
    for (const { sandbox } of found) {
      if (this.#isOwned(sandbox, isWanted) || this.#leaving.has(sandbox.id)) continue;
      if (await this.#leaves(sandbox)) continue;
      if (sandbox.dispatch) discarded.add(dispatchId(sandbox.dispatch.jobId, sandbox.dispatch.epoch));
      // guard: foreign-is-ended
      await this.#discard(sandbox);
    }
    for (const { jobId, epoch } of recorded) {
      const id = dispatchId(jobId, epoch);
      if (!isWanted(id) && !discarded.has(id)) await this.#forget(jobId, epoch);
    }
    const foreign = holding.filter(([id, { run }]) => !wanted.has(id) && run.holdsCapacity);
    for (const [, { run }] of foreign) void run.look();
    const contained = new Set(
      found.flatMap(({ container }) => (container ? [dispatchId(container.jobId, container.epoch)] : [])),
    );
    const hosted = rows.map((job) => {
      const id = dispatchId(job.id, job.epoch);
      return { job, found: contained.has(id) || this.#held.get(id)?.run.holdsCapacity === true };
    });
    return { hosted, endsForeign: foreign.length > 0 };
  }

  #superviseQuietly(jobId: string, epoch: number): void {
    this.supervise(jobId, epoch).catch((error: unknown) => {
      if (!this.#detach.signal.aborted)
        this.#r.logger.error({ err: error, job_id: jobId, epoch }, 'supervising a job failed');
    });
  }

  async #begin(jobId: string, epoch: number): Promise<RunResult | null> {
    const { signal } = this.#detach;
    const job = await persist('reading the job', this.#r.logger, signal, () => this.#r.queries.get(jobId));
    if (!job || job.epoch !== epoch || job.host !== this.#r.host || !isHosted(job.status)) {
      // Cancelled, taken back or finished before this host came to it; what it reserved is not needed.
      this.#r.release(jobId, epoch);
      return null;
    }
    const run = new JobRun(this.#r, job, signal);
    const id = dispatchId(jobId, epoch);
    const result = this.#carryOut(run, job).finally(() => this.#held.delete(id));
    this.#held.set(id, { run, result });
    // The row may have been told to end between the read above and the entry in the map.
    void run.look();
    return result;
  }

  async #carryOut(run: JobRun, job: Job): Promise<RunResult | null> {
    const result = await run.run();
    if (result.kind === 'void' && result.why !== 'fenced') await this.#giveBack(job, result.why);
    return result.kind === 'void' ? null : result;
  }

  /**
   * Back to its old place in the queue. The reservation was revoked, or Redis lost it, before anything existed; or there
   * was no room for what would have been made.
   */
  async #giveBack(job: Job, why: 'no_reservation' | 'no_room'): Promise<void> {
    const { logger } = this.#r;
    const { signal } = this.#detach;
    const actor = `host:${this.#r.host}`;
    const row = await persist('giving the job back', logger, signal, async () => {
      const queued = await this.#r.lifecycle.givenBack(job, why, actor);
      // Cancelled between dispatch and claim, with the reservation gone: nothing exists, so it can end at once.
      if (!queued) await this.#r.lifecycle.cancelledUnrun(job, actor, ['starting']);
      return queued;
    });
    // A step of its own: tried together again, the row would wait already, and nobody would put it into the queue.
    if (row) await persist('putting the job back into the queue', logger, signal, () => this.#r.requeue(row));
    this.#r.announce(job.id, null);
  }

  /** Whether a job that is to run stands behind it, or a run of this process that has not bound it yet. */
  #isOwned(sandbox: Sandbox, isWanted: (dispatch: string) => boolean): boolean {
    const { dispatch } = sandbox;
    if (dispatch !== null) return isWanted(dispatchId(dispatch.jobId, dispatch.epoch));
    return [...this.#held.values()].some(({ run }) => run.owns(sandbox.id));
  }

  /** Whether it is of a job that completed, whose caches its worker had no time to keep: that goes on beside all else. */
  async #leaves(sandbox: Sandbox): Promise<boolean> {
    const { dispatch } = sandbox;
    if (dispatch === null || sandbox.caches.length === 0) return false;
    const row = await this.#r.queries.get(dispatch.jobId);
    if (row?.epoch !== dispatch.epoch || !hasWritten(this.#r, row, sandbox)) return false;
    const { logger } = this.#r;
    const { signal } = this.#detach;
    const leaving = sandbox
      .remove()
      .then(() => publishCaches(this.#r, row, sandbox, signal, logger))
      .then(() => this.#discard(sandbox))
      .catch((error: unknown) => {
        if (!signal.aborted) logger.error({ err: error, sandbox: sandbox.id }, 'keeping caches failed');
      })
      .finally(() => this.#leaving.delete(sandbox.id));
    this.#leaving.set(sandbox.id, leaving);
    return true;
  }

  async #discard(sandbox: Sandbox): Promise<void> {
    const { id, dispatch } = sandbox;
    this.#r.logger.warn({ sandbox: id, ...dispatch }, 'removing a sandbox that no active job stands behind');
    await sandbox.kill();
    try {
      await sandbox.dispose();
    } catch (error) {
      // It runs nothing any more, so it must not keep this host from taking work.
      this.#r.logger.error(
        { err: error, sandbox: id },
        'a sandbox could not be removed; the next reconciliation tries again',
      );
      return;
    }
    if (dispatch !== null) await this.#forget(dispatch.jobId, dispatch.epoch);
  }

  async #forget(jobId: string, epoch: number): Promise<void> {
    await this.#r.records.remove(jobId, epoch);
    this.#r.release(jobId, epoch);
  }
}
