/** How tools reach the API. */
import type { Connection, ConnectionFlags } from '../client/connection.ts';
import { discoverConnection } from '../client/connection.ts';
import { FlashpodsClient } from '../client/client.ts';
import type { ClientEnvironment } from '../client/environment.ts';

export interface Backend {
  /** The client to use now. @throws ClientError when nothing says where a server is */
  client(): Promise<FlashpodsClient>;
  close(): void;
}

/**
 * Looks again at every call where the server is: one that `flashpods up` started later, or started anew at another
 * port, is found without a restart of the agent.
 */
export class DiscoveredBackend implements Backend {
  readonly #flags: ConnectionFlags;
  readonly #env: ClientEnvironment;
  #current: FlashpodsClient | undefined;

  constructor(flags: ConnectionFlags, env: ClientEnvironment) {
    this.#flags = flags;
    this.#env = env;
  }

  async client(): Promise<FlashpodsClient> {
    const connection = await discoverConnection(this.#flags, this.#env);
    if (!this.#current || !sameServer(this.#current.connection, connection)) {
      // Calls under way go on with the old one; its idle connections end by themselves.
      this.#current = new FlashpodsClient(connection);
    }
    return this.#current;
  }

  close(): void {
    this.#current?.close();
  }
}

const sameServer = (a: Connection, b: Connection): boolean =>
  a.url.href === b.url.href && a.token === b.token;

/** One server, known beforehand. */
export class FixedBackend implements Backend {
  readonly #client: FlashpodsClient;

  constructor(connection: Connection) {
    this.#client = new FlashpodsClient(connection);
  }

  async client(): Promise<FlashpodsClient> {
    return this.#client;
  }

  close(): void {
    this.#client.close();
  }
}
