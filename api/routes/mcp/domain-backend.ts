/** The tools of MCP over HTTP, on the domain in this very process. */
import type { Readable } from 'node:stream';
import type {
  ArtifactList,
  CreatedJob,
  ImageListAnswer,
  JobAnswer,
  JobList,
  LogPage,
  LogSearchPage,
  LogSearchRequest,
} from '../../../src/client/answers.ts';
import type { JobRequest } from '../../../src/jobs/description/types.ts';
import { FlashpodsError } from '../../../src/errors.ts';
import type { ImageService } from '../../../src/images/service.ts';
import { type Principal, requireScope, type Scope, viewOf } from '../../../src/identity/principal.ts';
import { parseCreateJob } from '../../../src/jobs/request.ts';
import type { JobResults } from '../../../src/jobs/results.ts';
import type { JobService } from '../../../src/jobs/service.ts';
import type { LogStart } from '../../../src/logs/log-store.ts';
import type { Backend } from '../../../src/mcp/backend.ts';
import type { Logger } from '../../../src/observability/logger.ts';
import { unlessAborted } from '../../../src/timing/within.ts';
import type { Caller } from '../../caller.ts';
import { check } from '../../middleware/input.ts';
import { presentImages } from '../images/present.ts';
import { presentArtifacts, presentCreated, presentJob, presentJobList } from '../jobs/present.ts';
import { searchOf } from '../jobs/output.ts';
import { listArtifactsQuery, listFilter, listJobsQuery, outputQuery } from '../jobs/schema.ts';

export interface DomainResources {
  readonly jobs: JobService;
  readonly results: JobResults;
  readonly images: ImageService;
  readonly logger: Logger;
}

/**
 * Answers as the HTTP API does, for the caller whose request began the session. The request of each call was
 * authenticated and counted when it came in. What a call still does later, it does only while the token is good.
 */
export class DomainBackend implements Backend {
  readonly #r: DomainResources;
  readonly #caller: Caller;

  constructor(resources: DomainResources, caller: Caller) {
    this.#r = resources;
    this.#caller = caller;
  }

  createJob(request: JobRequest): Promise<CreatedJob> {
    return this.#call('jobs:write', undefined, async ({ owner }) => {
      const outcome = await this.#r.jobs.create(owner, parseCreateJob(request));
      return presentCreated(outcome, await this.#r.jobs.wait(outcome.job));
    });
  }

  checkJob(request: JobRequest): Promise<void> {
    return this.#call('jobs:write', undefined, async ({ owner }) => {
      await this.#r.jobs.check(owner, parseCreateJob(request));
    });
  }

  getJob(
    id: string,
    options: { readonly waitSeconds?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<JobAnswer> {
    const { jobs } = this.#r;
    const { waitSeconds, signal } = options;
    return this.#call('jobs:read', signal, async (principal) => {
      const owner = viewOf(principal);
      const job =
        waitSeconds === undefined
          ? await jobs.get(id, owner)
          : await this.#whileGood(signal, (good) => jobs.waitForChange(id, owner, waitSeconds * 1_000, good));
      return presentJob(job, await jobs.wait(job));
    });
  }

  listJobs(
    { status, limit, cursor }: Parameters<Backend['listJobs']>[0],
    signal?: AbortSignal,
  ): Promise<JobList> {
    return this.#call('jobs:read', signal, async (principal) => {
      const query = check(listJobsQuery, { status, limit: limit?.toString(), cursor });
      return presentJobList(await this.#r.jobs.list(listFilter(query, viewOf(principal))));
    });
  }

  cancelJob(id: string, signal?: AbortSignal): Promise<void> {
    return this.#call('jobs:write', signal, async (principal) => {
      await this.#r.jobs.cancel(id, viewOf(principal));
    });
  }

  rerunJob(id: string, signal?: AbortSignal): Promise<CreatedJob> {
    return this.#call('jobs:write', signal, async (principal) => {
      const job = await this.#r.jobs.rerun(id, viewOf(principal));
      return presentCreated({ job, created: true }, await this.#r.jobs.wait(job));
    });
  }

  log(id: string, start: LogStart, signal?: AbortSignal, maxLines?: number): Promise<LogPage | null> {
    return this.#call('jobs:read', signal, (principal) =>
      unlessNothingYet(async () => {
        const { results } = this.#r;
        const { records, ...page } = await results.records(id, viewOf(principal), start, { maxLines });
        return { ...page, lines: records };
      }),
    );
  }

  searchLog(id: string, request: LogSearchRequest, signal?: AbortSignal): Promise<LogSearchPage | null> {
    return this.#call('jobs:read', signal, (principal) =>
      unlessNothingYet(async () => {
        const { pattern, ignoreCase, context, line } = request;
        const query = check(outputQuery, {
          grep: pattern,
          ...(ignoreCase === undefined ? {} : { ignore_case: String(ignoreCase) }),
          ...(context === undefined ? {} : { context: String(context) }),
          ...(line === undefined ? {} : { from_line: String(line) }),
        });
        const found = await this.#r.results.search(id, viewOf(principal), searchOf(query, pattern), signal);
        const { records, ...page } = found;
        return { ...page, lines: records };
      }),
    );
  }

  artifacts(id: string, signal?: AbortSignal, match: readonly string[] = []): Promise<ArtifactList> {
    return this.#call('jobs:read', signal, async (principal) => {
      const globs = match.length === 0 ? null : check(listArtifactsQuery, { match: [...match] }).match;
      return presentArtifacts(await this.#r.results.collected(id, viewOf(principal), globs ?? null));
    });
  }

  images(program?: string, signal?: AbortSignal): Promise<ImageListAnswer> {
    return this.#call('jobs:read', signal, async (principal) =>
      presentImages(await this.#r.images.list(viewOf(principal), program), this.#r.jobs),
    );
  }

  openArtifact(id: string, name: string, signal?: AbortSignal): Promise<Readable> {
    return this.#call('jobs:read', signal, async (principal) => {
      const { job, file } = await this.#r.results.artifact(id, viewOf(principal), name);
      return (await this.#r.results.open(job, file)).read();
    });
  }

  close(): void {
    // Nothing is held.
  }

  /** @throws FlashpodsError internal_error for what nobody expected, which the log tells; the reason of the signal */
  async #call<T>(
    scope: Scope,
    signal: AbortSignal | undefined,
    work: (principal: Principal) => Promise<T>,
  ): Promise<T> {
    try {
      await this.#caller.requireToken();
      requireScope(this.#caller.principal, scope);
      return await unlessAborted(work(this.#caller.principal), signal);
    } catch (error) {
      if (error instanceof FlashpodsError) throw error;
      signal?.throwIfAborted();
      this.#r.logger.error({ err: error }, 'a tool of MCP failed');
      throw new FlashpodsError('internal_error', undefined, { cause: error });
    }
  }

  /** Waits with a signal that also tells of a token that was revoked. */
  async #whileGood<T>(signal: AbortSignal | undefined, wait: (good: AbortSignal) => Promise<T>): Promise<T> {
    const revoked = new AbortController();
    const stop = this.#caller.whenRevoked(() => revoked.abort());
    try {
      return await wait(signal ? AbortSignal.any([signal, revoked.signal]) : revoked.signal);
    } finally {
      stop();
    }
  }
}

/** Null where nothing has been captured for the job. */
async function unlessNothingYet<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof FlashpodsError && error.code === 'logs_not_available') return null;
    throw error;
  }
}
