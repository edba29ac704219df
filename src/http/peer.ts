/** HTTP to one server, for the API's client and for Podman: connections kept open, a limit of what is read, abort. */
import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { systemCode } from '../errors.ts';

/**
 * Not by `import`: that reads every name that node:http exports, and one of them (`WebSocket`) loads all of undici, which
 * takes longer than the rest of a short command.
 */
const http = process.getBuiltinModule('node:http');

export interface PeerOptions {
  /** Connections kept open between requests; 256 by default. */
  readonly idleConnections?: number;
}

export interface Sending {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly payload?: string | Uint8Array | undefined;
  /** A body of unknown length, instead of a payload. It can be sent once only. */
  readonly stream?: AsyncIterable<Uint8Array> | undefined;
  /**
   * Whether it is sent again when a kept connection was closed at the moment it was used: nobody knows then what the
   * server saw.
   */
  readonly repeatable: boolean;
  /** A connection of its own, on which that can't happen. */
  readonly fresh?: boolean;
  /** The server may be silent this long. */
  readonly silenceMs?: number;
  /** The whole answer must be there within this time. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Larger answers than any that is read in one piece; what can be larger is streamed. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

export class AnswerTooLarge extends Error {
  override readonly name = 'AnswerTooLarge';
}

/** What Node says when it is too late, with a code as the kernel's errors have it. */
class TooLate extends Error {
  readonly code = 'ETIMEDOUT';
}

class StaleConnection extends Error {
  constructor(cause: unknown) {
    super('a kept connection was closed by its other end', { cause });
  }
}

export class Peer {
  readonly #where: RequestOptions;
  readonly #agent: Agent;
  readonly #request: typeof http.request;

  /** @param where `{ socketPath }`, or the address in a URL, of which path and query are left out */
  constructor(where: URL | { readonly socketPath: string }, { idleConnections = 256 }: PeerOptions = {}) {
    const isSecure = where instanceof URL && where.protocol === 'https:';
    const module = isSecure ? process.getBuiltinModule('node:https') : http;
    this.#agent = new module.Agent({ keepAlive: true, maxFreeSockets: idleConnections });
    this.#request = module.request;
    this.#where =
      where instanceof URL
        ? { hostname: where.hostname.replace(/^\[(.*)\]$/, '$1'), port: where.port || undefined }
        : where;
  }

  /** @throws the error of the connection, with its code; the signal's reason; what the stream throws */
  async send(sending: Sending): Promise<IncomingMessage> {
    for (let isAgain = false; ; isAgain = true) {
      sending.signal?.throwIfAborted();
      try {
        return await this.#exchange(sending);
      } catch (error) {
        sending.signal?.throwIfAborted();
        if (!(error instanceof StaleConnection)) throw error;
        if (isAgain || !sending.repeatable || sending.stream) throw error.cause;
      }
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #exchange(sending: Sending): Promise<IncomingMessage> {
    const { method, path, headers, payload, stream, fresh, silenceMs, deadlineMs, signal } = sending;
    const request = this.#request({
      ...this.#where,
      method,
      path,
      headers,
      agent: fresh ? false : this.#agent,
      ...(silenceMs === undefined ? {} : { timeout: silenceMs }),
      ...(signal ? { signal } : {}),
    });
    return new Promise((resolve, reject) => {
      let answered = false;
      const late = (ms: number): void => void request.destroy(new TooLate(`no answer within ${ms} ms`));
      const deadline = deadlineMs === undefined ? undefined : setTimeout(late, deadlineMs, deadlineMs);
      request.on('timeout', () => late(silenceMs ?? 0));
      request.on('close', () => clearTimeout(deadline));
      request.on('response', (response) => {
        answered = true;
        // After an answer in mid-upload (507, say) nothing more is sent, and the connection can't be used again.
        if (stream && !request.writableEnded) response.once('end', () => request.destroy());
        resolve(response);
      });
      request.on('error', (error) => {
        if (answered) return;
        const isStale = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '');
        reject(isStale ? new StaleConnection(error) : error);
      });
      if (stream)
        pump(stream, request, () => answered).catch((error: unknown) => {
          request.destroy(error instanceof Error ? error : new Error(String(error)));
        });
      else request.end(payload);
    });
  }
}

/** The body in one piece. @throws AnswerTooLarge beyond 64 MB; Error when the answer breaks off */
export async function wholeBody(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new AnswerTooLarge('an answer of more than 64 MB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Writes the body until its end, or until there is an answer. Unlike `pipeline` it leaves the request alive then. */
async function pump(
  body: AsyncIterable<Uint8Array>,
  request: ClientRequest,
  answered: () => boolean,
): Promise<void> {
  for await (const chunk of body) {
    if (answered() || request.destroyed) return;
    if (!request.write(chunk)) await writableAgain(request);
  }
  if (!answered()) request.end();
}

function writableAgain(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const events = ['drain', 'response', 'close'] as const;
    const done = (): void => {
      for (const event of events) request.off(event, done);
      resolve();
    };
    for (const event of events) request.on(event, done);
  });
}
