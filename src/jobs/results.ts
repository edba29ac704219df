/** What a job printed and what it left, for those who may see the job: there, not there yet, or deleted. */
import type { Readable } from 'node:stream';
import { archiveArtifacts } from '../artifacts/archive.ts';
import { parseArtifactName } from '../artifacts/artifact-name.ts';
import type { ArtifactStore, OpenArtifact } from '../artifacts/artifact-store.ts';
import { FlashpodsError } from '../errors.ts';
import type { LogRecords, LogStart, LogStore, LogTail, LogText } from '../logs/log-store.ts';
import type { ArtifactRecord, Job } from './job.ts';
import type { JobQueries } from './queries.ts';
import type { JobService } from './service.ts';
import { isTerminal } from './states.ts';

export interface JobResultsResources {
  readonly jobs: Pick<JobService, 'get'>;
  readonly queries: Pick<JobQueries, 'artifacts'>;
  readonly logs: Pick<LogStore, 'readTail' | 'readFrom' | 'readRecords'>;
  readonly artifacts: Pick<ArtifactStore, 'open'>;
  readonly config: { readonly artifactRetentionHours: number };
}

/** Artifacts of one job; they may be deleted between a look at their rows and the opening of a file. */
export interface Collected {
  readonly job: Job;
  readonly artifacts: readonly ArtifactRecord[];
  /** When they are deleted, milliseconds since the Unix epoch. */
  readonly expiresAt: number | null;
}

/** Every method throws `job_not_found`, also for somebody else's job; `null` as owner sees all. */
export class JobResults {
  readonly #r: JobResultsResources;

  constructor(resources: JobResultsResources) {
    this.#r = resources;
  }

  /** Lines with number, time and stream. @throws FlashpodsError logs_not_available, logs_deleted */
  async records(id: string, owner: string | null, from: LogStart): Promise<LogRecords> {
    const job = await this.#printed(id, owner);
    return thereOrNotYet(await this.#r.logs.readRecords(job.id, from));
  }

  /** The bytes as they were printed. @throws FlashpodsError logs_not_available, logs_deleted */
  async text(id: string, owner: string | null, from: LogStart): Promise<LogText | LogTail> {
    const job = await this.#printed(id, owner);
    const { logs } = this.#r;
    return thereOrNotYet(
      'offset' in from ? await logs.readFrom(job.id, from.offset) : await logs.readTail(job.id, from.tail),
    );
  }

  /** @throws FlashpodsError artifacts_not_available, copy_in_progress, artifacts_deleted */
  async collected(id: string, owner: string | null): Promise<Collected> {
    const job = await this.#r.jobs.get(id, owner);
    if (job.artifactsDeletedAt !== null || job.status === 'cleaned') {
      throw new FlashpodsError('artifacts_deleted');
    }
    if (!isTerminal(job.status)) {
      throw new FlashpodsError(job.endedAt === null ? 'artifacts_not_available' : 'copy_in_progress');
    }
    const keptMs = this.#r.config.artifactRetentionHours * 3_600_000;
    const expiresAt = job.completedAt === null ? null : job.completedAt + keptMs;
    return { job, artifacts: await this.#r.queries.artifacts(job.id), expiresAt };
  }

  /**
   * One artifact by its name. Only what was recorded is ever found: the name of a request never becomes a path by
   * itself.
   * @throws FlashpodsError invalid_artifact_name, artifact_not_found, and what `collected` throws
   */
  async artifact(
    id: string,
    owner: string | null,
    given: string,
  ): Promise<{ job: Job; artifact: ArtifactRecord }> {
    const name = parseArtifactName(given);
    const { job, artifacts } = await this.collected(id, owner);
    const artifact = artifacts.find((candidate) => candidate.name === name);
    if (!artifact) throw new FlashpodsError('artifact_not_found');
    return { job, artifact };
  }

  /**
   * Opens one of a job's artifacts.
   * @throws FlashpodsError artifacts_deleted; Error when it is not as long as was recorded
   */
  async open({ id }: Job, { name, sizeBytes }: ArtifactRecord): Promise<OpenArtifact> {
    const file = await this.#r.artifacts.open(id, name);
    // Deleted between the look at the row and now.
    if (!file) throw new FlashpodsError('artifacts_deleted');
    if (file.sizeBytes === sizeBytes) return file;
    await file.close();
    throw new Error(`artifact ${JSON.stringify(name)} has ${file.sizeBytes} bytes instead of ${sizeBytes}`);
  }

  /** All of it as one gzipped tar, made while it is read. @throws FlashpodsError artifacts_deleted */
  async archive({ job, artifacts }: Collected): Promise<Readable> {
    const [first] = artifacts;
    if (first) await (await this.open(job, first)).close();
    return archiveArtifacts(this.#r.artifacts, job.id, artifacts);
  }

  async #printed(id: string, owner: string | null): Promise<Job> {
    const job = await this.#r.jobs.get(id, owner);
    if (job.logsDeletedAt === null && job.status !== 'cleaned') return job;
    throw new FlashpodsError('logs_deleted');
  }
}

function thereOrNotYet<Page>(page: Page | null): Page {
  if (page === null) throw new FlashpodsError('logs_not_available');
  return page;
}
