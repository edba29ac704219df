import { randomUUID } from 'node:crypto';
import { createServer, type Server, STATUS_CODES } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type Koa from 'koa';
import { ERRORS, type ErrorCode, systemCode } from '../src/errors.ts';
import { once } from '../src/lifecycle/once.ts';
import type { Logger } from '../src/observability/logger.ts';
import { STOPPING } from './app.ts';
import type { RequestState } from './context.ts';
import type { ErrorBody } from './middleware/errors.ts';

export interface ApiServerOptions {
  readonly app: Koa<RequestState, object>;
  /** `HOST:PORT`, `[IPv6]:PORT`; port 0 takes a free one. */
  readonly listenAddr: string;
  /** How long requests under way may take to end once `stop` is called, milliseconds. */
  readonly stopTimeoutMs?: number;
  readonly logger: Logger;
}

export interface ApiServer {
  /** Where it listens, with the real port: `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Takes no more connections, lets requests under way end for a bounded time, then cuts them. */
  stop(): Promise<void>;
}

const STOP_TIMEOUT_MS = 10_000;
/** Each keeps a descriptor and some memory, whether or not it has shown a token. */
const MAX_CONNECTIONS = 8_192;
/** Header lines have to be there within this time; bodies have time limits of their own. */
const HEADERS_TIMEOUT_MS = 15_000;
/** Longer than the usual 60 s of a proxy in front, so that it never picks a connection that we are closing. */
const KEEP_ALIVE_MS = 65_000;

/** @throws Error when the address can't be listened on, with its code (`EADDRINUSE` …) as cause */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { app, logger } = options;
  const server = createServer(
    {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: 5_000,
    },
    app.callback() as (request: unknown, response: unknown) => void,
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', answerUnreadable);
  const { sockets, serving } = watchConnections(server);
  const { host, port } = parseAddress(options.listenAddr);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new Error(`can't listen on ${options.listenAddr} (${systemCode(cause) ?? cause.message})`, { cause }),
      );
    });
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  const url = `http://${shown}:${address.port}`;
  logger.info({ url }, 'the API listens');

  const stop = once(async () => {
    app.emit(STOPPING);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const endIdle = (): void => {
      for (const socket of sockets) if (!serving.has(socket)) socket.destroy();
    };
    endIdle();
    // Those that become idle while others are still served would keep the server open until their timeout.
    const sweep = setInterval(endIdle, 50);
    const cut = setTimeout(() => {
      logger.warn({}, 'requests were still under way at the end of the time to stop');
      server.closeAllConnections();
    }, options.stopTimeoutMs ?? STOP_TIMEOUT_MS);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  });
  return { url, stop };
}

/** Node's own idea of an idle connection leaves out those that have not sent a request yet. */
function watchConnections(server: Server): { sockets: ReadonlySet<Socket>; serving: ReadonlySet<Socket> } {
  const sockets = new Set<Socket>();
  const serving = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', ({ socket }, response) => {
    serving.add(socket);
    response.once('close', () => serving.delete(socket));
  });
  return { sockets, serving };
}

function parseAddress(listenAddr: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})$/.exec(listenAddr);
  const host = match?.[1] ?? match?.[2];
  if (!match || host === undefined) throw new Error(`not an address to listen on: ${listenAddr}`);
  return { host, port: Number(match[3]) };
}

/** What is no HTTP (contradicting lengths, oversized headers, noise) never becomes a request; it is answered here. */
function answerUnreadable(error: Error, socket: Socket): void {
  if (!socket.writable || systemCode(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const overflow = systemCode(error) === 'HPE_HEADER_OVERFLOW';
  const status = overflow ? 431 : systemCode(error) === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  const code: ErrorCode = 'invalid_request';
  const body: ErrorBody = {
    error: code,
    message: overflow ? 'The headers are too large.' : 'The request is not readable as HTTP/1.1.',
    details: {},
    request_id: randomUUID(),
    retryable: ERRORS[code].retryable,
  };
  const text = JSON.stringify(body);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `X-Request-Id: ${body.request_id}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}
