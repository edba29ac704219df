/** Deletes what is past its retention: artifacts, logs, and the files of uploads that nobody needs any more. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../src/config.ts';
import type { Job } from '../src/jobs/job.ts';
import { isTerminal } from '../src/jobs/states.ts';
import type { JobStore } from '../src/jobs/store.ts';
import type { Logger } from '../src/observability/logger.ts';

export interface CleanerResources {
  readonly config: Pick<Config, 'logRetentionHours' | 'artifactRetentionHours'>;
  readonly store: JobStore;
  readonly logger: Logger;
  deleteLog(jobId: string): Promise<void>;
  deleteArtifacts(jobId: string): Promise<void>;
  sweepUploads(): Promise<void>;
}

const EVERY_MS = 60_000;
const BATCH = 100;
const HOUR_MS = 3_600_000;
const ACTOR = 'cleaner';

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
    while (!signal.aborted) {
      await this.sweep().catch((error: unknown) =>
        this.#r.logger.error({ err: error }, 'a clean-up failed; the next one tries again'),
      );
      await delay(EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One round. Each deletion is recorded after it is complete, so a crash repeats it and never skips it. */
  async sweep(now = Date.now()): Promise<void> {
    const logsBefore = now - this.#r.config.logRetentionHours * HOUR_MS;
    const artifactsBefore = now - this.#r.config.artifactRetentionHours * HOUR_MS;
    for (;;) {
      const jobs = await this.#r.store.expired(logsBefore, artifactsBefore, BATCH);
      for (const job of jobs) {
        if (this.#stop.signal.aborted) return;
        await this.#clean(job, logsBefore, artifactsBefore);
      }
      if (jobs.length < BATCH) break;
    }
    await this.#r.sweepUploads();
  }

  async #clean(job: Job, logsBefore: number, artifactsBefore: number): Promise<void> {
    const endedAt = job.completedAt ?? job.createdAt;
    const logsGo = job.logsDeletedAt === null && endedAt <= logsBefore;
    const artifactsGo = job.artifactsDeletedAt === null && endedAt <= artifactsBefore;
    const allGone =
      (logsGo || job.logsDeletedAt !== null) && (artifactsGo || job.artifactsDeletedAt !== null);
    if (allGone && isTerminal(job.status) && job.status !== 'cleaning' && job.status !== 'cleaned') {
      await this.#r.store.transition(job.id, { from: [job.status], to: 'cleaning', actor: ACTOR });
    }
    if (artifactsGo) {
      await this.#r.deleteArtifacts(job.id);
      await this.#r.store.patch(job.id, job.epoch, { artifactsDeletedAt: Date.now() });
    }
    if (logsGo) {
      await this.#r.deleteLog(job.id);
      await this.#r.store.patch(job.id, job.epoch, { logsDeletedAt: Date.now() });
    }
    if (allGone) await this.#r.store.transition(job.id, { from: ['cleaning'], to: 'cleaned', actor: ACTOR });
  }
}
