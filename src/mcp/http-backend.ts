import type { Readable } from 'node:stream';
import type {
  ArtifactAnswer,
  ArtifactList,
  CreatedJob,
  JobAnswer,
  JobList,
  LogPage,
} from '../client/answers.ts';
import type { JobRequest } from '../jobs/description/types.ts';
import { FlashpodsClient, type ListFilter, type LogStart } from '../client/client.ts';
import { type Connection, type ConnectionFlags, discoverConnection } from '../client/connection.ts';
import { downloadTo } from '../client/download.ts';
import type { ClientEnvironment } from '../client/environment.ts';
import { type DirectoryOptions, uploadDirectory } from '../client/upload/directory.ts';
import type { Backend, LocalFiles } from './backend.ts';

/**
 * A server elsewhere, over its HTTP API. Looks again at every call where it is: one that `flashpods up` started later,
 * or started anew at another port, is found without a restart of the agent.
 */
export class HttpBackend implements Backend, LocalFiles {
  readonly #flags: ConnectionFlags;
  readonly #env: ClientEnvironment;
  #current: FlashpodsClient | undefined;

  constructor(flags: ConnectionFlags, env: ClientEnvironment) {
    this.#flags = flags;
    this.#env = env;
  }

  async createJob(request: JobRequest): Promise<CreatedJob> {
    return (await this.#client()).createJob(request);
  }

  async getJob(
    id: string,
    options: { readonly waitSeconds?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<JobAnswer> {
    return (await this.#client()).getJob(id, options);
  }

  async listJobs(filter: ListFilter, signal?: AbortSignal): Promise<JobList> {
    return (await this.#client()).listJobs(filter, signal);
  }

  async cancelJob(id: string, signal?: AbortSignal): Promise<void> {
    await (await this.#client()).cancelJob(id, signal);
  }

  async rerunJob(id: string, signal?: AbortSignal): Promise<CreatedJob> {
    return (await this.#client()).rerunJob(id, signal);
  }

  async log(id: string, start: LogStart, signal?: AbortSignal): Promise<LogPage | null> {
    return (await this.#client()).log(id, start, signal);
  }

  async artifacts(id: string, signal?: AbortSignal): Promise<ArtifactList> {
    return (await this.#client()).artifacts(id, signal);
  }

  async openArtifact(id: string, name: string, signal?: AbortSignal): Promise<Readable> {
    return (await this.#client()).openArtifact(id, name, signal);
  }

  async send(directory: string, options: DirectoryOptions): Promise<string> {
    return (await uploadDirectory(await this.#client(), directory, options)).upload.upload_id;
  }

  async save(
    jobId: string,
    artifact: ArtifactAnswer,
    target: string,
    options: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<void> {
    await downloadTo(await this.#client(), jobId, artifact, target, options);
  }

  close(): void {
    this.#current?.close();
  }

  /** @throws ClientError when nothing says where a server is */
  async #client(): Promise<FlashpodsClient> {
    const connection = await discoverConnection(this.#flags, this.#env);
    if (!this.#current || !sameServer(this.#current.connection, connection)) {
      // Calls under way go on with the old one; its idle connections end by themselves.
      this.#current = new FlashpodsClient(connection);
    }
    return this.#current;
  }
}

const sameServer = (a: Connection, b: Connection): boolean =>
  a.url.href === b.url.href && a.token === b.token;
