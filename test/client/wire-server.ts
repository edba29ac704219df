import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Connection } from '../../src/client/connection.ts';

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly atMs: number;
}

/** Answers a request, or drops the connection by `response.destroy()`. `nth` counts requests from 1. */
export type Script = (request: Seen, response: ServerResponse, nth: number) => void;

/** The far end of the wire, for what no real server does on demand: refusals, broken connections, lies. */
export class WireServer {
  readonly seen: Seen[] = [];
  readonly #server: Server;

  constructor(script: Script) {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('error', () => undefined);
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const seen = {
          method: request.method ?? '',
          path: request.url ?? '',
          headers: request.headers,
          body: Buffer.concat(chunks).toString('latin1'),
          atMs: performance.now(),
        };
        script(seen, response, this.seen.push(seen));
      });
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

export const failure = (code: string, details: object = {}): object => ({
  error: code,
  message: `it was ${code}`,
  details,
  request_id: 'req-1',
  retryable: false,
});

export const connectionTo = (url: string): Connection => ({
  url: new URL(url),
  token: 'a-token-for-the-test',
  origin: 'the test',
  retry: { maxAttempts: 5, baseDelayMs: 4, maxDelayMs: 40 },
  defaultExclude: null,
  rsyncHost: null,
  cacheDir: '/nonexistent/cache',
});
