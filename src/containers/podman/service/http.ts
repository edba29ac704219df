/** The libpod HTTP API on a unix socket: one small client, with timeouts and its errors translated. */
import { Agent, type IncomingMessage, request as httpRequest } from 'node:http';
import { FlashpodsError, messageOf, systemCode } from '../../../errors.ts';

/** Podman 4.0 and everything later answers under this version. */
const API_PREFIX = '/v4.0.0/libpod';
const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** Connections kept open between requests; a job makes about five requests in its life. */
const IDLE_SOCKETS = 16;

/** Podman answered, and the answer was no. `message` is Podman's own. */
export class PodmanApiError extends Error {
  override readonly name = 'PodmanApiError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export type Query = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface CallOptions {
  readonly query?: Query;
  readonly body?: unknown;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface PodmanAnswer {
  readonly status: number;
  /** Parsed JSON, or null where the body was empty or something else. */
  readonly body: unknown;
}

/**
 * Every method throws {@link PodmanApiError} for an answer of 400 and above, `FlashpodsError('container_error')`
 * when no whole answer came (refused, reset, too late), and the signal's reason when it was aborted.
 */
export class PodmanClient {
  readonly #socketPath: string;
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: IDLE_SOCKETS });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<PodmanAnswer> {
    const response = await this.#send(method, path, options);
    const text = await wholeBody(response, path);
    const body = parseJson(text);
    const status = response.statusCode ?? 0;
    if (status >= 400)
      throw new PodmanApiError(status, complaintOf(body) ?? (text.trim() || `status ${status}`));
    return { status, body };
  }

  /** The body of an answer as it is. */
  async text(method: string, path: string, options: CallOptions = {}): Promise<string> {
    const response = await this.#send(method, path, options);
    const text = await wholeBody(response, path);
    const status = response.statusCode ?? 0;
    if (status >= 400) throw new PodmanApiError(status, complaintOf(parseJson(text)) ?? text.trim());
    return text;
  }

  /** Calls and hands every JSON value of a streamed answer to `onValue`, in order. */
  async stream(
    method: string,
    path: string,
    options: CallOptions,
    onValue: (value: unknown) => void,
  ): Promise<void> {
    const response = await this.#send(method, path, options);
    const status = response.statusCode ?? 0;
    if (status >= 400) {
      const text = await wholeBody(response, path);
      throw new PodmanApiError(status, complaintOf(parseJson(text)) ?? text.trim());
    }
    let rest = '';
    try {
      for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (line.trim()) onValue(parseJson(line));
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      throw noAnswer(path, error);
    }
    if (rest.trim()) onValue(parseJson(rest));
  }

  close(): void {
    this.#agent.destroy();
  }

  async #send(method: string, path: string, options: CallOptions): Promise<IncomingMessage> {
    try {
      return await this.#sendOnce(method, path, options);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      // A kept connection of a Podman that has ended, most likely before it read the request. But it may have begun:
      // a start that is repeated without a look runs a short job twice.
      if (method === 'POST') throw noAnswer(path, error.cause);
      return await this.#sendOnce(method, path, options);
    }
  }

  #sendOnce(method: string, path: string, options: CallOptions): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const { signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const payload = options.body === undefined ? undefined : JSON.stringify(options.body);
    const request = httpRequest({
      socketPath: this.#socketPath,
      agent: this.#agent,
      method,
      path: API_PREFIX + path + queryString(options.query),
      headers:
        payload === undefined
          ? { host: 'podman' }
          : {
              host: 'podman',
              'content-type': 'application/json',
              'content-length': Buffer.byteLength(payload),
            },
    });
    const deadline = setTimeout(() => {
      request.destroy(new Error(`no answer within ${timeoutMs} ms`));
    }, timeoutMs);
    const onAbort = (): void => void request.destroy(signal?.reason as Error);
    signal?.addEventListener('abort', onAbort, { once: true });
    const settled = (): void => {
      clearTimeout(deadline);
      signal?.removeEventListener('abort', onAbort);
    };
    request.once('response', (response) => {
      response.once('close', settled);
      resolve(response);
    });
    request.on('error', (error) => {
      settled();
      if (signal?.aborted) reject(signal.reason as Error);
      else if (request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? ''))
        reject(new StaleConnection(error));
      else reject(noAnswer(path, error));
    });
    request.end(payload);
    return promise;
  }
}

class StaleConnection extends Error {
  constructor(cause: Error) {
    super('the connection was closed by its other end', { cause });
  }
}

const noAnswer = (path: string, cause: unknown): FlashpodsError =>
  new FlashpodsError('container_error', `Podman did not answer ${path}: ${messageOf(cause)}`, { cause });

async function wholeBody(response: IncomingMessage, path: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_BODY_BYTES) throw new Error(`the answer is larger than ${MAX_BODY_BYTES} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw noAnswer(path, error);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return text.trim() ? (JSON.parse(text) as unknown) : null;
  } catch {
    return null;
  }
}

/** libpod's errors: `{"cause": …, "message": …, "response": 500}`. */
function complaintOf(body: unknown): string | undefined {
  return isRecord(body) && typeof body['message'] === 'string' ? body['message'] : undefined;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function queryString(query: Query | undefined): string {
  if (!query) return '';
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query))
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value as string])
      parameters.append(key, String(one));
  return `?${parameters.toString()}`;
}
