/** Sends requests exactly as they are given: no normalized paths, no headers of its own, each with a deadline. */
import { Agent, request as httpRequest } from 'node:http';

export interface Wire {
  readonly method: string;
  /** Path and query as they stand in the request line. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
  /** Address of this machine that the request comes from. */
  readonly from: string;
}

export interface WireAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Of a stream of events only what came first. */
  readonly body: Buffer;
}

/** Longer than the longest wait that the driver asks for, by much. */
const DEADLINE_MS = 15_000;

export class WireClient {
  readonly #port: number;
  readonly #agents = new Map<string, Agent>();

  constructor(port: number) {
    this.#port = port;
  }

  /** @throws Error when no whole answer came in time, or none that is HTTP */
  send({ method, target, headers, body, from }: Wire): Promise<WireAnswer> {
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        host: '127.0.0.1',
        port: this.#port,
        agent: this.#agent(from),
        method,
        path: target,
        headers: { ...headers, ...(body ? { 'Content-Length': String(body.length) } : {}) },
      });
      const deadline = setTimeout(
        () => request.destroy(new Error(`no answer within ${DEADLINE_MS} ms`)),
        DEADLINE_MS,
      );
      const settle = (outcome: () => void): void => {
        clearTimeout(deadline);
        outcome();
      };
      request.once('error', (error) => settle(() => reject(error)));
      request.once('response', (response) => {
        const chunks: Buffer[] = [];
        const done = (): void =>
          settle(() => {
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks),
            });
          });
        const endless = response.headers['content-type']?.startsWith('text/event-stream') === true;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          if (!endless || chunks.length < 2) return;
          done();
          request.destroy();
        });
        if (endless) {
          // What is there at once is enough; a quiet stream has nothing else.
          const enough = setTimeout(() => {
            done();
            request.destroy();
          }, 40);
          response.once('close', () => clearTimeout(enough));
        }
        response.once('end', done);
        response.once('error', (error) => settle(() => reject(error)));
      });
      request.end(body ?? undefined);
    });
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
  }

  #agent(from: string): Agent {
    let agent = this.#agents.get(from);
    if (!agent) {
      agent = new Agent({ keepAlive: true, maxSockets: 64, localAddress: from });
      this.#agents.set(from, agent);
    }
    return agent;
  }
}
