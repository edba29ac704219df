/** The libpod HTTP API on a unix socket: one small client, with timeouts and its errors translated. */
import type { IncomingMessage } from 'node:http';
import { FlashpodsError, messageOf } from '../../../errors.ts';
import { Peer, wholeBody } from '../../../http/peer.ts';
import { isRecord } from '../../../is-record.ts';

/** Podman 4.0 and everything later answers under this version. */
const API_PREFIX = '/v4.0.0/libpod';
const DEFAULT_TIMEOUT_MS = 30_000;
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
  readonly #peer: Peer;

  constructor(socketPath: string) {
    this.#peer = new Peer({ socketPath }, { idleConnections: IDLE_SOCKETS });
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<PodmanAnswer> {
    const { status, text } = await this.#whole(method, path, options);
    return { status, body: parseJson(text) };
  }

  /** Whether the service answers at all. */
  async answers(timeoutMs: number): Promise<boolean> {
    return this.call('GET', '/_ping', { timeoutMs }).then(
      () => true,
      () => false,
    );
  }

  /** The body of an answer as it is. */
  async text(method: string, path: string, options: CallOptions = {}): Promise<string> {
    return (await this.#whole(method, path, options)).text;
  }

  /** Calls and hands every JSON value of a streamed answer to `onValue`, in order. */
  async stream(
    method: string,
    path: string,
    options: CallOptions,
    onValue: (value: unknown) => void,
  ): Promise<void> {
    const response = await this.#send(method, path, options);
    if ((response.statusCode ?? 0) >= 400) await textOf(response, path, options.signal);
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
    this.#peer.close();
  }

  async #whole(
    method: string,
    path: string,
    options: CallOptions,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const response = await this.#send(method, path, options);
    const text = await textOf(response, path, options.signal);
    return { status: response.statusCode ?? 0, text };
  }

  async #send(method: string, path: string, options: CallOptions): Promise<IncomingMessage> {
    const { query, body, timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    try {
      return await this.#peer.send({
        method,
        path: API_PREFIX + path + queryString(query),
        headers: {
          host: 'podman',
          ...(payload ? { 'content-type': 'application/json', 'content-length': payload.length } : {}),
        },
        payload,
        // Podman has most likely ended before it read the request. But it may have begun: a start that is repeated
        // without a look runs a short job twice.
        repeatable: method !== 'POST',
        deadlineMs: timeoutMs,
        signal,
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw noAnswer(path, error);
    }
  }
}

const noAnswer = (path: string, cause: unknown): FlashpodsError =>
  new FlashpodsError('container_error', `Podman did not answer ${path}: ${messageOf(cause)}`, { cause });

/** @throws PodmanApiError from 400 on */
async function textOf(
  response: IncomingMessage,
  path: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  let text: string;
  try {
    text = (await wholeBody(response)).toString('utf8');
  } catch (error) {
    signal?.throwIfAborted();
    throw noAnswer(path, error);
  }
  const status = response.statusCode ?? 0;
  if (status < 400) return text;
  throw new PodmanApiError(status, complaintOf(parseJson(text)) ?? (text.trim() || `status ${status}`));
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

function queryString(query: Query | undefined): string {
  if (!query) return '';
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query))
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value as string])
      parameters.append(key, String(one));
  return `?${parameters.toString()}`;
}
