import type { IncomingMessage } from 'node:http';
import { messageOf, systemCode } from '../errors.ts';
import { AnswerTooLarge, Peer, wholeBody } from '../http/peer.ts';
import { pause } from '../timing/bell.ts';
import { VERSION } from '../version.ts';
import { ClientError, hasCode } from './client-error.ts';
import type { Connection } from './connection.ts';
import { isLoopback } from './loopback.ts';
import { parseRetryAfter, Retries } from './retry.ts';

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Encoded already; begins with a slash. */
  readonly path: string;
  /** Of a list, each value by itself. */
  readonly query?: Readonly<Record<string, string | number | readonly string[] | undefined>>;
  readonly json?: unknown;
  /** A body that can be sent once only: such a call is never retried here. */
  readonly stream?: {
    readonly body: AsyncIterable<Uint8Array>;
    readonly contentType: string;
    readonly contentEncoding?: string | undefined;
  };
  readonly headers?: Readonly<Record<string, string>>;
  /** It must not happen twice: it is sent again only when it certainly was not done (429, 503, nobody listens). */
  readonly once?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Once it is aborted, the answer to what is under way is awaited, and nothing is sent again. */
  readonly lastTry?: AbortSignal | undefined;
  /** The server may be silent for this time before it counts as gone. */
  readonly silenceMs?: number;
  /** Codes of refusals that the caller deals with: not sent again here. */
  readonly passOn?: readonly string[];
  /** Statuses from 400 on that are answers all the same. */
  readonly accept?: readonly number[];
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface RetryNotice {
  readonly error: ClientError;
  readonly delayMs: number;
}

const SILENCE_MS = 30_000;

/** Sends requests to one server: connections kept open, retries, errors as {@link ClientError}. No redirects. */
export class Transport {
  readonly #connection: Connection;
  readonly #onRetry: (notice: RetryNotice) => void;
  readonly #peer: Peer;
  #hasAnswered = false;

  constructor(connection: Connection, onRetry: (notice: RetryNotice) => void = () => undefined) {
    this.#connection = connection;
    this.#onRetry = onRetry;
    this.#peer = new Peer(connection.url);
  }

  /** @throws ClientError, or the signal's reason */
  async call(call: Call): Promise<Answer> {
    return this.#retrying(call, async () => {
      const response = await this.#send(call);
      const answer = {
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: await this.#collect(response, call),
      };
      if (answer.status >= 400 && !call.accept?.includes(answer.status)) throw errorOf(answer);
      return answer;
    });
  }

  /** As {@link call}, but the body of a good answer is handed over unread. */
  async open(call: Call): Promise<IncomingMessage> {
    return this.#retrying(call, async () => {
      const response = await this.#send(call);
      if ((response.statusCode ?? 0) < 400) return response;
      throw errorOf({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: await this.#collect(response, call),
      });
    });
  }

  /** The body of what {@link open} gave, as it comes. @throws ClientError not_reachable when it breaks off */
  async *text(response: IncomingMessage, signal?: AbortSignal): AsyncGenerator<string, void, void> {
    response.setEncoding('utf8');
    try {
      yield* response as AsyncIterable<string>;
    } catch (error) {
      signal?.throwIfAborted();
      this.#fail(error);
    }
  }

  close(): void {
    this.#peer.close();
  }

  async #retrying<T>(call: Call, attempt: () => Promise<T>): Promise<T> {
    const retries = new Retries(this.#connection.retry);
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        call.signal?.throwIfAborted();
        const isFinal =
          call.stream !== undefined ||
          (call.once === true && !wasNotDone(error)) ||
          hasCode(error, ...(call.passOn ?? [])) ||
          this.#isDeadHere(error);
        const delayMs = isFinal ? null : retries.delayAfter(error);
        if (delayMs === null || !(error instanceof ClientError)) throw error;
        const stops = [call.signal, call.lastTry].filter((signal) => signal !== undefined);
        if (!call.lastTry?.aborted) {
          this.#onRetry({ error, delayMs });
          await pause(delayMs, AbortSignal.any(stops));
        }
        call.signal?.throwIfAborted();
        if (call.lastTry?.aborted) throw notTriedAgain(call.lastTry, error);
      }
    }
  }

  /** Nothing listens at an address of this machine, and nothing did before: nobody is there to wait for. */
  #isDeadHere(error: unknown): boolean {
    const { url, isKept = false } = this.#connection;
    return !this.#hasAnswered && !isKept && isLoopback(url) && isRefused(error);
  }

  async #send(call: Call): Promise<IncomingMessage> {
    const { url, token } = this.#connection;
    const payload = call.json === undefined ? undefined : Buffer.from(JSON.stringify(call.json));
    const query = new URLSearchParams(
      Object.entries(call.query ?? {}).flatMap<[string, string]>(([name, value]) => {
        if (value === undefined) return [];
        return typeof value === 'object'
          ? value.map((each): [string, string] => [name, each])
          : [[name, String(value)]];
      }),
    ).toString();
    try {
      const response = await this.#peer.send({
        method: call.method,
        path: `${url.pathname.replace(/\/$/, '')}${call.path}${query === '' ? '' : `?${query}`}`,
        headers: {
          accept: 'application/json, */*;q=0.5',
          'user-agent': `flashpods/${VERSION}`,
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(payload ? { 'content-type': 'application/json', 'content-length': payload.length } : {}),
          ...(call.stream ? { 'content-type': call.stream.contentType } : {}),
          ...(call.stream?.contentEncoding === undefined
            ? {}
            : { 'content-encoding': call.stream.contentEncoding }),
          ...call.headers,
        },
        payload,
        stream: call.stream?.body,
        repeatable: true,
        fresh: call.once === true,
        silenceMs: call.silenceMs ?? SILENCE_MS,
        signal: call.signal,
      });
      this.#hasAnswered = true;
      return response;
    } catch (error) {
      call.signal?.throwIfAborted();
      return this.#fail(error);
    }
  }

  /** Translates what Node says of a connection. */
  #fail(error: unknown): never {
    if (error instanceof ClientError) throw error;
    const { url } = this.#connection;
    if (error instanceof AnswerTooLarge)
      throw new ClientError('unexpected_answer', `${url.origin} sent ${error.message}.`);
    // What the body's source threw, or a mistake of ours, is not the network's.
    if (systemCode(error) === undefined) throw error;
    const inner = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
    throw new ClientError('not_reachable', `${url.origin} does not answer: ${describe(inner)}.`, {
      cause: error,
    });
  }

  async #collect(response: IncomingMessage, call: Call): Promise<Buffer> {
    try {
      return await wholeBody(response);
    } catch (error) {
      call.signal?.throwIfAborted();
      this.#fail(error);
    }
  }
}

/** Nobody knows what became of a request that may have arrived. */
const notTriedAgain = (lastTry: AbortSignal, error: ClientError): unknown =>
  wasNotDone(error)
    ? lastTry.reason
    : new ClientError('interrupted', `Interrupted; it may have been done all the same: ${error.message}`, {
        cause: error,
      });

const wasNotDone = (error: unknown): boolean =>
  error instanceof ClientError && (error.status === 429 || error.status === 503 || isRefused(error));

const isRefused = (error: unknown): boolean =>
  error instanceof ClientError && systemCode(error.cause) === 'ECONNREFUSED';

function describe(error: unknown): string {
  switch (systemCode(error)) {
    case 'ECONNREFUSED':
      return 'connection refused';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'the connection was dropped';
    case 'ETIMEDOUT':
      return 'no answer in time';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the host name can’t be resolved';
    default:
      return messageOf(error);
  }
}

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

function errorOf({ status, headers, body }: Answer): ClientError {
  const fields = parseObject(body) ?? {};
  const details = asObject(fields['details']) ?? {};
  const seconds = details['retry_after_seconds'];
  const header = headers['retry-after'];
  const code = text(fields['error']);
  return new ClientError(
    code ?? 'unexpected_answer',
    text(fields['message']) ?? `The server answered with ${status}.`,
    {
      status,
      details,
      requestId: text(fields['request_id']) ?? text(headers['x-request-id']),
      retryAfterMs:
        parseRetryAfter(typeof header === 'string' ? header : undefined, Date.now()) ??
        (typeof seconds === 'number' && seconds >= 0 ? seconds * 1_000 : undefined),
    },
  );
}

const asObject = (value: unknown): Record<string, unknown> | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;

/** The JSON object in a body, or null when it holds none. */
export function parseObject(body: Buffer): Record<string, unknown> | null {
  try {
    return asObject(JSON.parse(body.toString('utf8')));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
