/** What a job printed and what it left, for those who may see the job: there, not there yet, or deleted. */
import type { Readable } from 'node:stream';
import { archiveArtifacts } from '../artifacts/archive.ts';
import type { Globs } from '../artifacts/globs.ts';
import { parseArtifactName } from '../artifacts/artifact-name.ts';
import type { ArtifactStore, OpenArtifact } from '../artifacts/artifact-store.ts';
import { FlashpodsError } from '../errors.ts';
import type {
  AnswerLimits,
  LogRecords,
  LogSearch,
  LogStart,
  LogStore,
  LogTail,
  LogText,
  SearchQuery,
} from '../logs/log-store.ts';
import type { ArtifactRecord, Job } from './job.ts';
import { artifactsExpireAt } from './kept.ts';
import type { JobQueries } from './queries.ts';
import type { JobService } from './service.ts';
import { isTerminal } from './states.ts';

export interface JobResultsResources {
  readonly jobs: Pick<JobService, 'get'>;
  readonly queries: Pick<JobQueries, 'artifacts' | 'artifactParents' | 'artifact'>;
  readonly logs: Pick<LogStore, 'readTail' | 'readFrom' | 'readRecords' | 'search'>;
  readonly artifacts: Pick<ArtifactStore, 'open'>;
  readonly config: { readonly artifactRetentionHours: number };
}

/** Artifacts of one job; they may be deleted between a look at their rows and the opening of a file. */
export interface Collected {
  readonly job: Job;
  readonly artifacts: readonly ArtifactRecord[];
  /** Directories that hold those. */
  readonly parents: readonly ArtifactRecord[];
  /** When they are deleted, milliseconds since the Unix epoch. */
  readonly expiresAt: number | null;
}

export interface NamedArtifact {
  readonly job: Job;
  readonly artifact: ArtifactRecord;
  /** With its bytes: itself, or what a symlink leads to. */
  readonly file: ArtifactRecord;
}

/** Every method throws `job_not_found`, also for somebody else's job; `null` as owner sees all. */
export class JobResults {
  readonly #r: JobResultsResources;

  constructor(resources: JobResultsResources) {
    this.#r = resources;
  }

  /** Lines with number, time and stream. @throws FlashpodsError logs_not_available, logs_deleted */
  async records(
    id: string,
    owner: string | null,
    from: LogStart,
    limits?: AnswerLimits,
  ): Promise<LogRecords> {
    const job = await this.#printed(id, owner);
    return thereOrNotYet(job, await this.#r.logs.readRecords(job.id, from, limits), EMPTY);
  }

  /**
   * Lines of the log that a pattern finds; when it is abandoned, those found by then.
   * @throws FlashpodsError logs_not_available, logs_deleted, invalid_request for a pattern that takes too long
   */
  async search(
    id: string,
    owner: string | null,
    query: SearchQuery,
    abandoned?: AbortSignal,
  ): Promise<LogSearch> {
    const job = await this.#printed(id, owner);
    return thereOrNotYet(job, await this.#r.logs.search(job.id, query, abandoned), {
      ...EMPTY,
      matches: 0,
      nextLine: null,
    });
  }

  /** The bytes as they were printed. @throws FlashpodsError logs_not_available, logs_deleted */
  async text(
    id: string,
    owner: string | null,
    from: LogStart,
    limits?: AnswerLimits,
  ): Promise<LogText | LogTail> {
    const job = await this.#printed(id, owner);
    const { logs } = this.#r;
    const none = { ...EMPTY, output: Buffer.alloc(0), lines: 0 };
    if ('tail' in from)
      return thereOrNotYet(job, await logs.readTail(job.id, from.tail), { ...none, cut: false });
    return thereOrNotYet(job, await logs.readFrom(job.id, 'line' in from ? from : from.offset, limits), none);
  }

  /**
   * @param globs which artifacts; those that match none are left away, as if the job had not left them. None: all
   * @throws FlashpodsError artifacts_not_available, copy_in_progress, artifacts_deleted
   */
  async collected(id: string, owner: string | null, globs: Globs | null = null): Promise<Collected> {
    const { job, expiresAt } = await this.#ended(id, owner);
    const [all, allParents] = await Promise.all([
      this.#r.queries.artifacts(job.id),
      this.#r.queries.artifactParents(job.id),
    ]);
    if (globs === null) return { job, artifacts: all, parents: allParents, expiresAt };
    const artifacts = all.filter(({ name }) => globs.matches(name));
    const holding = new Set(artifacts.flatMap(({ name }) => directoriesOf(name)));
    return { job, artifacts, parents: allParents.filter(({ name }) => holding.has(name)), expiresAt };
  }

  /** @throws FlashpodsError artifacts_not_available, copy_in_progress, artifacts_deleted */
  async #ended(id: string, owner: string | null): Promise<Pick<Collected, 'job' | 'expiresAt'>> {
    const job = await this.#r.jobs.get(id, owner);
    if (job.artifactsDeletedAt !== null || job.status === 'cleaned') {
      throw new FlashpodsError('artifacts_deleted');
    }
    if (!isTerminal(job.status)) {
      throw new FlashpodsError(job.endedAt === null ? 'artifacts_not_available' : 'copy_in_progress');
    }
    const usual = this.#r.config.artifactRetentionHours;
    return { job, expiresAt: job.completedAt === null ? null : artifactsExpireAt(job, usual) };
  }

  /**
   * One artifact by its name. Only what was recorded is ever found: the name of a request never becomes a path by
   * itself.
   * @throws FlashpodsError invalid_artifact_name, artifact_not_found, artifact_not_a_file, and what `collected` throws
   */
  async artifact(id: string, owner: string | null, given: string): Promise<NamedArtifact> {
    const name = parseArtifactName(given);
    const { job } = await this.#ended(id, owner);
    const artifact = await this.#r.queries.artifact(job.id, name);
    if (!artifact) throw new FlashpodsError('artifact_not_found');
    const bytes = bytesAt(artifact);
    const file = bytes === null || bytes === name ? artifact : await this.#r.queries.artifact(job.id, bytes);
    if (bytes === null || file === null) throw new FlashpodsError('artifact_not_a_file');
    return { job, artifact, file };
  }

  /**
   * Opens one of a job's files.
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

  /**
   * All of it as one gzipped tar, made while it is read. Where something was left out, its last file says what.
   * @throws FlashpodsError artifacts_deleted
   */
  async archive({ job, artifacts, parents }: Collected): Promise<Readable> {
    const first = artifacts.find((artifact) => bytesAt(artifact) !== null);
    if (first) await (await this.open(job, first)).close();
    const members = [...parents, ...artifacts].sort((a, b) => (a.name < b.name ? -1 : 1));
    return archiveArtifacts(this.#r.artifacts, job.id, members, job.artifactWarnings);
  }

  async #printed(id: string, owner: string | null): Promise<Job> {
    const job = await this.#r.jobs.get(id, owner);
    if (job.logsDeletedAt === null && job.status !== 'cleaned') return job;
    throw new FlashpodsError('logs_deleted');
  }
}

/** Directories that a name lies in. */
export const directoriesOf = (name: string): string[] =>
  [...name.matchAll(/\//g)].map(({ index }) => name.slice(0, index));

/** Name of the file with the bytes of an artifact; null: it has none. */
export function bytesAt({ name, type, leadsTo }: ArtifactRecord): string | null {
  if (type === 'symlink') return leadsTo ?? null;
  return type === 'directory' || type === 'parent' ? null : name;
}

/** The log of a job that ended before any host had it: nobody will ever write one. */
const EMPTY = { records: [], nextOffset: 0, totalBytes: 0, printedBytes: 0, truncated: false } as const;

function thereOrNotYet<Page>({ status, startedAt }: Job, page: Page | null, none: Page): Page {
  if (page !== null) return page;
  if (isTerminal(status) && startedAt === null) return none;
  throw new FlashpodsError('logs_not_available');
}
