/** Deletes what is past its retention or beyond its share of the disk: logs, artifacts, files of uploads, events. */
import { setTimeout as delay } from 'node:timers/promises';
import { isJobId } from '../src/ids.ts';
import type { Job } from '../src/jobs/job.ts';
import { artifactsExpireAt, logExpiresAt } from '../src/jobs/kept.ts';
import type { CleanerResources } from './resources.ts';

const EVERY_MS = 60_000;
/** Orphans are rare and looking for them reads every row that has files: once an hour. */
const ROUNDS_PER_ORPHAN_SEARCH = 60;
const BATCH = 100;
const IDS_PER_QUERY = 500;
const HOUR_MS = 3_600_000;
/** Files of no row that are younger are left alone: the row may be that of a database which is being restored. */
const ORPHAN_AGE_MS = HOUR_MS;
const ACTOR = 'cleaner';
const LOG_WENT =
  'The log is not kept as long as `keep_hours` says: all logs together had no more room, and those of the jobs that ended first went.';

/**
 * Every deletion is recorded after it is complete, and a job is `cleaned` after both are recorded. So a crash at any
 * moment repeats a deletion and never skips one; several cleaners may be at work at once.
 */
export class Cleaner {
  readonly #r: CleanerResources;
  readonly #stop = new AbortController();
  #loop: Promise<void> | null = null;

  constructor(resources: CleanerResources) {
    this.#r = resources;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let round = 0; !signal.aborted; round++) {
      await this.sweep();
      if (round % ROUNDS_PER_ORPHAN_SEARCH === 0) await this.sweepOrphans();
      await delay(EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One round. What fails is told to the log and left to the next round; the rest is done all the same. */
  async sweep(now = Date.now()): Promise<void> {
    await this.#attempt('what has expired', () => this.#sweepExpired(now));
    await this.#attempt('the oldest logs', () => this.#sweepOldestLogs());
    await this.#attempt('events', () => this.#sweepEvents(now));
    await this.#attempt('installed packages', async () => void (await this.#r.runtime.packages?.trim()));
    await this.#attempt('caches', async () => void (await this.#r.runtime.caches?.trim()));
    await this.#attempt('uploads', async () => void (await this.#r.uploads.sweep()));
  }

  /** Removes what belongs to no job, and what a job's row says to be deleted: a power failure may bring it back. */
  async sweepOrphans(now = Date.now()): Promise<void> {
    await this.#attempt('orphaned logs', async () => this.#deleteOrphans(this.#r.logs, 'logs', now));
    await this.#attempt('orphaned artifacts', async () =>
      this.#deleteOrphans(this.#r.artifacts, 'artifacts', now),
    );
  }

  async #sweepExpired(now: number): Promise<void> {
    const { logRetentionHours, artifactRetentionHours } = this.#r.config;
    const logsBefore = now - logRetentionHours * HOUR_MS;
    const artifactsBefore = now - artifactRetentionHours * HOUR_MS;
    // Those that failed stay in front of what is asked for next.
    let failed = 0;
    for (;;) {
      const jobs = await this.#r.queries.expired({ logsBefore, artifactsBefore, now }, BATCH, failed);
      for (const job of jobs) {
        if (this.#stop.signal.aborted) return;
        const go = {
          log: logExpiresAt(job, logRetentionHours) <= now,
          artifacts: artifactsExpireAt(job, artifactRetentionHours) <= now,
        };
        const done = await this.#attempt(`job ${job.id}`, () => this.#clean(job, go));
        if (!done) failed++;
      }
      if (jobs.length < BATCH) return;
    }
  }

  /** Ended jobs lose their logs, the one that ended first before the others, until all together fit. */
  async #sweepOldestLogs(): Promise<void> {
    const { lifecycle, config } = this.#r;
    const limit = config.logsTotalMb * 2 ** 20;
    let passed = 0;
    for (;;) {
      // In this order: what another cleaner deletes meanwhile is either not counted, or taken off the total below.
      const jobs = await this.#r.queries.finishedWithLogs(BATCH, passed);
      const sizes = new Map((await this.#r.logs.list()).map(({ jobId, diskBytes }) => [jobId, diskBytes]));
      let total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
      for (const job of jobs) {
        if (this.#stop.signal.aborted || total <= limit) return;
        const size = sizes.get(job.id) ?? 0;
        const evict = async (): Promise<void> => {
          // Said before: after a crash between the two it is said, and done by the next round.
          if (job.keepHours !== null && !job.warnings.includes(LOG_WENT))
            await lifecycle.warned(job, LOG_WENT);
          await this.#clean(job, { log: true, artifacts: false });
        };
        if (size > 0 && (await this.#attempt(`the log of ${job.id}`, evict))) {
          total -= size;
          this.#r.logger.info({ job_id: job.id, bytes: size }, 'a log went for newer ones');
        } else passed++;
      }
      if (jobs.length < BATCH) return;
    }
  }

  async #sweepEvents(now: number): Promise<void> {
    const before = now - this.#r.config.eventsRetentionHours * HOUR_MS;
    while (!this.#stop.signal.aborted && (await this.#r.journal.deleteExpired(before, BATCH)) === BATCH);
  }

  async #clean(job: Job, go: { readonly log: boolean; readonly artifacts: boolean }): Promise<void> {
    const { lifecycle } = this.#r;
    const logGoes = go.log && job.logsDeletedAt === null;
    const artifactsGo = go.artifacts && job.artifactsDeletedAt === null;
    const nothingStays =
      (logGoes || job.logsDeletedAt !== null) && (artifactsGo || job.artifactsDeletedAt !== null);
    if (nothingStays && job.status !== 'cleaning') {
      await lifecycle.cleaning(job, ACTOR);
    }
    if (artifactsGo) {
      await this.#r.artifacts.delete(job.id);
      await lifecycle.filesDeleted(job, 'artifacts');
    }
    if (logGoes) {
      await this.#r.logs.delete(job.id);
      await lifecycle.filesDeleted(job, 'logs');
    }
    if (nothingStays) await lifecycle.cleaned(job.id, ACTOR);
  }

  async #deleteOrphans(
    files: CleanerResources['logs'] | CleanerResources['artifacts'],
    kind: 'logs' | 'artifacts',
    now: number,
  ): Promise<void> {
    // Files of other names are not ours.
    const ours = (await files.list()).filter(({ jobId }) => isJobId(jobId));
    for (let first = 0; first < ours.length; first += IDS_PER_QUERY) {
      const some = ours.slice(first, first + IDS_PER_QUERY);
      const remains = await this.#r.queries.remains(some.map(({ jobId }) => jobId));
      for (const { jobId, changedAt } of some) {
        if (this.#stop.signal.aborted) return;
        const row = remains.get(jobId);
        if (row ? row[kind] : now - changedAt < ORPHAN_AGE_MS) continue;
        this.#r.logger.warn({ job_id: jobId, kind, row: row !== undefined }, 'removing orphaned files');
        await this.#attempt(`orphaned ${kind} of ${jobId}`, () => files.delete(jobId));
      }
    }
  }

  /** @returns whether it was done */
  async #attempt(what: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.#r.logger.error({ err: error, what }, 'a clean-up failed; the next one tries again');
      return false;
    }
  }
}
