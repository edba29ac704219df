import type { ArtifactAnswer } from '../client/answers.ts';
import { FlashpodsClient } from '../client/client.ts';
import { type Connection, type ConnectionFlags, discoverConnection } from '../client/connection.ts';
import type { ClientError } from '../client/client-error.ts';
import { downloadTo } from '../client/download.ts';
import { fetchArtifacts } from '../client/fetch-artifacts.ts';
import type { ClientEnvironment } from '../client/environment.ts';
import { type DirectoryOptions, uploadDirectory } from '../client/upload/directory.ts';
import { saveLog } from '../client/save-log.ts';
import type { Backend, LocalFiles } from './backend.ts';
import { Fence } from './client-roots.ts';

/**
 * A server elsewhere, over its HTTP API. Looks again at every call where it is: one that `flashpods up` started later,
 * or started anew at another port, is found without a restart of the agent.
 */
export class HttpBackend implements Backend, LocalFiles {
  readonly #flags: ConnectionFlags;
  readonly #env: ClientEnvironment;
  #current: FlashpodsClient | undefined;

  readonly fence: Fence;

  /** @param roots directories that the person named, beside those of the client */
  constructor(flags: ConnectionFlags, env: ClientEnvironment, roots: readonly string[] = []) {
    this.fence = new Fence({ roots, workingDirectory: process.cwd(), home: env.home });
    this.#flags = flags;
    this.#env = env;
  }

  readonly createJob: Backend['createJob'] = async (...args) => (await this.#client()).createJob(...args);
  readonly checkJob: Backend['checkJob'] = async (...args) => (await this.#client()).checkJob(...args);
  readonly getJob: Backend['getJob'] = async (...args) => (await this.#client()).getJob(...args);
  readonly listJobs: Backend['listJobs'] = async (...args) => (await this.#client()).listJobs(...args);
  readonly cancelJob: Backend['cancelJob'] = async (...args) => (await this.#client()).cancelJob(...args);
  readonly rerunJob: Backend['rerunJob'] = async (...args) => (await this.#client()).rerunJob(...args);
  readonly log: Backend['log'] = async (...args) => (await this.#client()).log(...args);
  readonly searchLog: Backend['searchLog'] = async (...args) => (await this.#client()).searchLog(...args);
  readonly artifacts: Backend['artifacts'] = async (...args) => (await this.#client()).artifacts(...args);
  readonly images: Backend['images'] = async (...args) => (await this.#client()).images(...args);
  readonly openArtifact: Backend['openArtifact'] = async (...args) =>
    (await this.#client()).openArtifact(...args);

  async send(directory: string, options: DirectoryOptions): Promise<string> {
    return (await uploadDirectory(await this.#client(), directory, options)).upload.upload_id;
  }

  readonly saveTree: LocalFiles['saveTree'] = async (jobId, wanted, directory, options) => {
    const saved: string[] = [];
    const failed: ClientError[] = [];
    for await (const each of fetchArtifacts(await this.#client(), jobId, wanted, directory, options)) {
      if ('error' in each) failed.push(each.error);
      else saved.push(each.path);
    }
    return { saved, failed };
  };

  async save(
    jobId: string,
    artifact: ArtifactAnswer,
    target: string,
    options: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<void> {
    await downloadTo(await this.#client(), jobId, artifact, target, options);
  }

  async saveLog(
    jobId: string,
    target: string,
    options: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<number> {
    return await saveLog(await this.#client(), jobId, target, options);
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
