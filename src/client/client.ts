/** The HTTP API as methods; long because it has one method an operation. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type {
  ArtifactList,
  CacheAnswer,
  CapacityAnswer,
  CreatedJob,
  CreatedToken,
  CreatedUpload,
  HealthAnswer,
  HostAnswer,
  ImageListAnswer,
  JobAnswer,
  JobList,
  FoundLine,
  LogPage,
  LogSearchPage,
  LogSearchRequest,
  TenantAnswer,
  TenantRequest,
  TokenAnswer,
  TokenRequest,
  UploadAnswer,
} from './answers.ts';
import type { JobRequest } from '../jobs/description/types.ts';
import type { LogStart } from '../logs/log-store.ts';
import { ClientError, hasCode } from './client-error.ts';
import type { Connection } from './connection.ts';
import { parseEvents, type ServerEvent } from './events.ts';
import { type Answer, type Call, parseObject, type RetryNotice, Transport } from './transport.ts';

export interface ListFilter {
  /** `all`, a state, or a group: `active`, `waiting`, `hosted`. */
  readonly status?: string | undefined;
  readonly label?: readonly [key: string, value: string] | undefined;
  /** The beginning of an id, or a name. */
  readonly find?: string | undefined;
  /** `turn`: those on a host first, then those that wait, in the order of their turns; without further pages. */
  readonly order?: 'newest' | 'turn' | undefined;
  /** 1–100. */
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

/** A stream of events says something every 15 s. */
const EVENTS_SILENCE_MS = 45_000;
/** Silence that a long poll adds to what a server may take anyhow. */
const POLL_GRACE_MS = 15_000;

/**
 * The HTTP API as methods. Every method throws {@link ClientError}, or the reason of an aborted signal, and
 * retries what the API says may be retried: see `retry.ts`.
 */
export class FlashpodsClient {
  readonly connection: Connection;
  readonly #transport: Transport;

  constructor(connection: Connection, onRetry?: (notice: RetryNotice) => void) {
    this.connection = connection;
    this.#transport = new Transport(connection, onRetry);
  }

  /** Closes the connections that are kept open. */
  close(): void {
    this.#transport.close();
  }

  /** The health that the server reports, also when it is bad; needs no token. */
  async health(signal?: AbortSignal): Promise<HealthAnswer> {
    return this.#object<HealthAnswer>({ method: 'GET', path: '/health', signal, accept: [503] }, 'status');
  }

  async capacity(signal?: AbortSignal): Promise<CapacityAnswer> {
    return this.#object<CapacityAnswer>({ method: 'GET', path: '/capacity', signal }, 'hosts');
  }

  /** @param program lists those that have it */
  async images(program?: string, signal?: AbortSignal): Promise<ImageListAnswer> {
    const call: Call = { method: 'GET', path: '/images', query: { program }, signal };
    return this.#object<ImageListAnswer>(call, 'images');
  }

  /**
   * @param packages none: the image itself
   * @returns the hosts that had it
   */
  async removeImage(
    image: string,
    packages: readonly string[],
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    const list = packages.length === 0 ? undefined : packages.join(',');
    const call: Call = { method: 'DELETE', path: '/images', query: { image, packages: list }, signal };
    return (await this.#object<{ readonly hosts: readonly string[] }>(call, 'hosts')).hosts;
  }

  async caches(signal?: AbortSignal): Promise<readonly CacheAnswer[]> {
    const call: Call = { method: 'GET', path: '/caches', signal };
    return (await this.#object<{ readonly caches: readonly CacheAnswer[] }>(call, 'caches')).caches;
  }

  /**
   * @param of whose, and of which scope; the caller's and of every scope unless given
   * @returns the hosts that had it
   */
  async removeCache(
    cache: string,
    of: { readonly scope?: string | undefined; readonly owner?: string | undefined },
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    const call: Call = { method: 'DELETE', path: '/caches', query: { cache, ...of }, signal };
    return (await this.#object<{ readonly hosts: readonly string[] }>(call, 'hosts')).hosts;
  }

  /**
   * However often the request has to be sent, one job comes of it: it carries one `client_job_id`.
   * @param lastTry see {@link Call}
   */
  async createJob(request: JobRequest, signal?: AbortSignal, lastTry?: AbortSignal): Promise<CreatedJob> {
    const json = { ...request, client_job_id: request.client_job_id ?? randomUUID() };
    return this.#object<CreatedJob>({ method: 'POST', path: '/jobs', json, signal, lastTry }, 'job_id');
  }

  /**
   * Throws what {@link createJob} would, before files are sent for it; a server that is older than this question lets
   * everything pass.
   */
  async checkJob(request: JobRequest, signal?: AbortSignal): Promise<void> {
    try {
      await this.#object({ method: 'POST', path: '/job-checks', json: request, signal }, 'type');
    } catch (error) {
      const isOlder = error instanceof ClientError && (error.status === 404 || error.status === 405);
      if (!isOlder || error.code === 'image_not_found') throw error;
    }
  }

  /** With `waitSeconds` (1–60) the answer comes when the job's state changes, or after that time. */
  async getJob(
    id: string,
    options: { waitSeconds?: number; signal?: AbortSignal | undefined } = {},
  ): Promise<JobAnswer> {
    const { waitSeconds, signal } = options;
    const silenceMs = waitSeconds === undefined ? {} : { silenceMs: waitSeconds * 1_000 + POLL_GRACE_MS };
    const call: Call = {
      method: 'GET',
      path: jobPath(id),
      query: { wait: waitSeconds },
      signal,
      ...silenceMs,
    };
    return this.#object<JobAnswer>(call, 'status');
  }

  async listJobs(filter: ListFilter, signal?: AbortSignal): Promise<JobList> {
    const { status, find, order, limit, cursor } = filter;
    const label = filter.label?.join(':');
    return this.#object<JobList>(
      { method: 'GET', path: '/jobs', query: { status, label, find, order, limit, cursor }, signal },
      'jobs',
    );
  }

  /** Newest first, over as many pages as it takes. */
  async *allJobs(
    filter: Omit<ListFilter, 'limit' | 'cursor'>,
    limit: number,
    signal?: AbortSignal,
  ): AsyncGenerator<JobAnswer> {
    let cursor: string | undefined;
    for (let left = limit; left > 0;) {
      const page = await this.listJobs({ ...filter, limit: Math.min(left, 100), cursor }, signal);
      yield* page.jobs;
      left -= page.jobs.length;
      if (page.next_cursor === null || page.jobs.length === 0) return;
      cursor = page.next_cursor;
    }
  }

  /** Asks for the end of a job; its state changes when it is true. */
  async cancelJob(id: string, signal?: AbortSignal): Promise<void> {
    await this.#transport.call({ method: 'DELETE', path: jobPath(id), signal });
  }

  /**
   * Makes a job with the same values once more; this one may be in any state. Not sent again when nobody
   * knows what became of it: it carries no key that would make one job of two requests.
   * @param lastTry see {@link Call}
   */
  async rerunJob(id: string, signal?: AbortSignal, lastTry?: AbortSignal): Promise<CreatedJob> {
    const call: Call = { method: 'POST', path: `${jobPath(id)}/rerun`, once: true, signal, lastTry };
    return this.#object<CreatedJob>(call, 'job_id');
  }

  /** Asks for the end of every job that waits or runs and has the label. @returns their ids */
  async cancelJobs(
    label: readonly [key: string, value: string],
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    const call: Call = { method: 'DELETE', path: '/jobs', query: { label: label.join(':') }, signal };
    return (await this.#object<{ readonly cancelled: readonly string[] }>(call, 'cancelled')).cancelled;
  }

  /** @returns null as long as nothing has been captured for the job */
  async log(id: string, start: LogStart, signal?: AbortSignal, maxLines?: number): Promise<LogPage | null> {
    const from = 'line' in start ? { from_line: start.line } : start;
    // The last lines are as many as they are.
    const head = 'tail' in start ? {} : { head: maxLines };
    return await this.#logPage(id, { ...from, ...head }, signal);
  }

  /** What a regular expression finds in the log. @returns null as long as nothing has been captured for the job */
  async searchLog(id: string, query: LogSearchRequest, signal?: AbortSignal): Promise<LogSearchPage | null> {
    const { pattern, ignoreCase, context, line } = query;
    const given = { grep: pattern, ignore_case: ignoreCase ? 'true' : undefined, context, from_line: line };
    return await this.#logPage(id, given, signal);
  }

  async #logPage(id: string, query: Call['query'], signal?: AbortSignal): Promise<LogSearchPage | null> {
    const call: Call = {
      method: 'GET',
      path: `${jobPath(id)}/output`,
      query: { ...query, format: 'ndjson' },
      signal,
    };
    try {
      return logPage(await this.#transport.call(call));
    } catch (error) {
      if (hasCode(error, 'logs_not_available')) return null;
      throw error;
    }
  }

  /**
   * What happens to a job, and what it prints, from its beginning or after the event with `lastEventId`, to its end; or
   * until the server stops. Opening the stream is retried, reading it is not.
   * @throws ClientError unexpected_answer when what answers sends no stream, not_reachable when it breaks
   */
  async *events(
    id: string,
    lastEventId: string | null,
    signal?: AbortSignal,
  ): AsyncGenerator<ServerEvent, void, void> {
    const response = await this.#transport.open({
      method: 'GET',
      path: `${jobPath(id)}/events`,
      headers: {
        accept: 'text/event-stream',
        ...(lastEventId === null ? {} : { 'last-event-id': lastEventId }),
      },
      silenceMs: EVENTS_SILENCE_MS,
      // Who gets no stream asks instead.
      passOn: ['too_many_open'],
      signal,
    });
    try {
      if (response.statusCode === 204) return;
      if (!/^text\/event-stream\b/.test(response.headers['content-type'] ?? ''))
        throw new ClientError('unexpected_answer', 'The server sends no stream of events.');
      yield* parseEvents(this.#transport.text(response, signal));
    } finally {
      response.destroy();
    }
  }

  /** All of them, over as many answers as it takes. @param match only those that match one of these globs */
  async artifacts(id: string, signal?: AbortSignal, match: readonly string[] = []): Promise<ArtifactList> {
    const path = `${jobPath(id)}/artifacts`;
    const query = match.length === 0 ? {} : { match };
    const first = await this.#object<ArtifactList>({ method: 'GET', path, query, signal }, 'artifacts');
    const pages = [first];
    for (let cursor = first.next_cursor ?? null; cursor !== null;) {
      const call: Call = { method: 'GET', path, query: { ...query, cursor }, signal };
      const page = await this.#object<ArtifactList>(call, 'artifacts');
      pages.push(page);
      cursor = page.artifacts.length === 0 ? null : (page.next_cursor ?? null);
    }
    if (pages.length === 1) return first;
    const directories = new Map(
      pages.flatMap((page) => page.directories ?? []).map((directory) => [directory.name, directory]),
    );
    const artifacts = pages.flatMap((page) => page.artifacts);
    return { ...first, artifacts, directories: [...directories.values()], next_cursor: null };
  }

  /** All of them as a gzipped tar, unread. @param match only those that match one of these globs */
  async openArchive(id: string, match: readonly string[], signal?: AbortSignal): Promise<IncomingMessage> {
    const path = `${jobPath(id)}/artifacts.tar.gz`;
    return this.#transport.open({
      method: 'GET',
      path,
      query: match.length === 0 ? {} : { match },
      signal,
    });
  }

  /** The artifact's bytes, unread: from a byte on with status 206, or all of them with 200. */
  async openArtifact(id: string, name: string, signal?: AbortSignal, from = 0): Promise<IncomingMessage> {
    const encoded = name.split('/').map(encodeURIComponent).join('/');
    const path = `${jobPath(id)}/artifacts/${encoded}`;
    const headers = from === 0 ? {} : { range: `bytes=${from}-` };
    return this.#transport.open({ method: 'GET', path, headers, signal });
  }

  /**
   * @param options.base an earlier upload of one's own that was finalized as `reusable`: only what changed is sent then
   */
  async createUpload(
    options: { readonly base?: string | undefined } = {},
    signal?: AbortSignal,
  ): Promise<CreatedUpload> {
    const { base } = options;
    const json = base === undefined ? {} : { base };
    return this.#object<CreatedUpload>({ method: 'POST', path: '/uploads', json, signal }, 'upload_id');
  }

  /** Sends a tar stream into an upload, once: another try needs another stream. */
  async putFiles(
    id: string,
    tar: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
    contentEncoding?: 'gzip' | 'zstd',
  ): Promise<void> {
    const stream = { body: tar, contentType: 'application/x-tar', contentEncoding };
    // Unpacking and counting 2 GB takes its time before the first byte of an answer.
    await this.#transport.call({
      method: 'PUT',
      path: `${uploadPath(id)}/files`,
      stream,
      signal,
      silenceMs: 300_000,
    });
  }

  /**
   * @param options.reusable whether many jobs may use it, and later uploads may name it as their base
   * @param options.delete paths of the base that the new one lacks
   */
  async finalizeUpload(
    id: string,
    options: { readonly reusable?: boolean; readonly delete?: readonly string[] } = {},
    signal?: AbortSignal,
  ): Promise<UploadAnswer> {
    try {
      const call: Call = {
        method: 'POST',
        path: `${uploadPath(id)}/finalize`,
        json: options,
        signal,
        silenceMs: 300_000,
      };
      return await this.#object<UploadAnswer>(call, 'upload_id');
    } catch (error) {
      // An earlier try of this very call did it and its answer was lost: nobody else knows the id.
      if (hasCode(error, 'upload_already_finalized')) return this.getUpload(id, signal);
      throw error;
    }
  }

  async getUpload(id: string, signal?: AbortSignal): Promise<UploadAnswer> {
    return this.#object<UploadAnswer>({ method: 'GET', path: uploadPath(id), signal }, 'upload_id');
  }

  async deleteUpload(id: string, signal?: AbortSignal): Promise<void> {
    await this.#transport.call({ method: 'DELETE', path: uploadPath(id), signal });
  }

  /** Needs `admin`, as the next three do. */
  async getHost(name: string, signal?: AbortSignal): Promise<HostAnswer> {
    return this.#object<HostAnswer>({ method: 'GET', path: hostPath(name), signal }, 'draining');
  }

  /** The host gets nothing new; what runs there goes on. */
  async drainHost(name: string, signal?: AbortSignal): Promise<HostAnswer> {
    const call: Call = { method: 'POST', path: `${hostPath(name)}/drain`, signal };
    return this.#object<HostAnswer>(call, 'draining');
  }

  async undrainHost(name: string, signal?: AbortSignal): Promise<HostAnswer> {
    const call: Call = { method: 'POST', path: `${hostPath(name)}/undrain`, signal };
    return this.#object<HostAnswer>(call, 'draining');
  }

  /** Refused as `host_in_use` while its worker lives or its jobs are not over. */
  async removeHost(name: string, signal?: AbortSignal): Promise<void> {
    await this.#transport.call({ method: 'DELETE', path: hostPath(name), signal });
  }

  /** Needs `admin`, as the next two do. The answer is the only one that shows the token. */
  async createToken(request: TokenRequest, signal?: AbortSignal): Promise<CreatedToken> {
    return this.#object<CreatedToken>({ method: 'POST', path: '/tokens', json: request, signal }, 'token');
  }

  async listTokens(signal?: AbortSignal): Promise<readonly TokenAnswer[]> {
    const call: Call = { method: 'GET', path: '/tokens', signal };
    return (await this.#object<{ readonly tokens: readonly TokenAnswer[] }>(call, 'tokens')).tokens;
  }

  async revokeToken(name: string, signal?: AbortSignal): Promise<void> {
    await this.#transport.call({ method: 'DELETE', path: `/tokens/${encodeURIComponent(name)}`, signal });
  }

  /** Needs `admin`, as the two that change something do. */
  async listTenants(signal?: AbortSignal): Promise<readonly TenantAnswer[]> {
    const call: Call = { method: 'GET', path: '/tenants', signal };
    return (await this.#object<{ readonly tenants: readonly TenantAnswer[] }>(call, 'tenants')).tenants;
  }

  async getTenant(owner: string, signal?: AbortSignal): Promise<TenantAnswer> {
    return this.#object<TenantAnswer>({ method: 'GET', path: tenantPath(owner), signal }, 'owner');
  }

  /** Replaces what was set before. */
  async setTenant(owner: string, request: TenantRequest, signal?: AbortSignal): Promise<TenantAnswer> {
    const call: Call = { method: 'PUT', path: tenantPath(owner), json: request, signal };
    return this.#object<TenantAnswer>(call, 'owner');
  }

  async unsetTenant(owner: string, signal?: AbortSignal): Promise<void> {
    await this.#transport.call({ method: 'DELETE', path: tenantPath(owner), signal });
  }

  /** `field` is one that the answer can't be without: its absence tells a stranger from our server. */
  async #object<T extends object>(call: Call, field: keyof T & string): Promise<T> {
    const answer = await this.#transport.call(call);
    const object = parseObject(answer.body);
    if (object && Object.hasOwn(object, field)) return object as T;
    throw new ClientError(
      'unexpected_answer',
      `${call.method} ${call.path} was not answered as Flashpods answers.`,
      { status: answer.status },
    );
  }
}

const tenantPath = (owner: string): string => `/tenants/${encodeURIComponent(owner)}`;
const jobPath = (id: string): string => `/jobs/${encodeURIComponent(id)}`;
const hostPath = (name: string): string => `/hosts/${encodeURIComponent(name)}`;
const uploadPath = (id: string): string => `/uploads/${encodeURIComponent(id)}`;

function logPage(answer: Answer): LogSearchPage {
  const nextOffset = Number(answer.headers['x-next-offset']);
  if (!Number.isSafeInteger(nextOffset))
    throw new ClientError('unexpected_answer', 'The log came without its next offset.');
  const lines = answer.body
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as FoundLine);
  const totalBytes = Number(answer.headers['x-total-bytes'] ?? nextOffset);
  const printedBytes = Number(answer.headers['x-printed-bytes'] ?? totalBytes);
  const next = Number(answer.headers['x-next-line'] ?? Number.NaN);
  return { lines, nextOffset, totalBytes, printedBytes, nextLine: Number.isSafeInteger(next) ? next : null };
}
