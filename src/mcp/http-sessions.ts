/** Streamable HTTP without a web framework: `Request` in, `Response` out. */
import { randomUUID } from 'node:crypto';
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import { SUPPORTED_PROTOCOL_VERSIONS } from '@modelcontextprotocol/sdk/types.js';
import { EventBudget, RecentEvents } from './event-store.ts';
import { z } from 'zod';
import { type McpConnection, type ServerDefinition, serveMcp } from './server.ts';

export interface HttpSessionLimits {
  /** Beyond it the session that was used least recently ends. */
  readonly sessions: number;
  /** The same for each holder. */
  readonly sessionsPerHolder: number;
  /** A session that nobody used for this time, and that has no stream open, ends. */
  readonly idleMs: number;
  /** Every session ends after this time; its client begins another. */
  readonly lifetimeMs: number;
  /** Of all sessions together: messages that are kept for clients whose streams broke off. */
  readonly eventBytes: number;
}

export const SESSION_LIMITS: HttpSessionLimits = {
  sessions: 1_000,
  sessionsPerHolder: 50,
  idleMs: 30 * 60_000,
  lifetimeMs: 24 * 3_600_000,
  eventBytes: 32 * 1024 * 1024,
};

/** How soon a client whose stream was closed comes back, ms. */
const RETRY_MS = 1_000;
const SWEEP_MS = 60_000;

interface Session {
  readonly id: string;
  readonly holder: string;
  /** What was agreed upon; null when the client asked for one that is unknown here. */
  readonly protocolVersion: string | null;
  readonly transport: WebStandardStreamableHTTPServerTransport;
  readonly connection: McpConnection;
  readonly begunAt: number;
  usedAt: number;
  /** Answers that are still being sent. */
  open: number;
}

/**
 * The sessions of one process. Each belongs to the caller that began it: with another token it can't be told
 * from one that does not exist. Timers run only while there are sessions.
 */
export class HttpSessions {
  readonly #limits: HttpSessionLimits;
  readonly #budget: EventBudget;
  /** The one used least recently first. */
  readonly #sessions = new Map<string, Session>();
  #sweeper: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(limits: HttpSessionLimits = SESSION_LIMITS) {
    this.#limits = limits;
    this.#budget = new EventBudget(limits.eventBytes);
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** What the messages take that are kept for streams that broke off. */
  get eventBytes(): number {
    return this.#budget.bytes;
  }

  /**
   * @param holder tells whose sessions they are: the id of the caller's token
   * @param body the parsed JSON of a POST; undefined when there is none
   * @param define what a session that this request begins offers
   */
  async handle(
    request: Request,
    { holder, body, define }: { holder: string; body?: unknown; define: () => Promise<ServerDefinition> },
  ): Promise<Response> {
    if (this.#closed) return refusal(503, -32000, 'The server is stopping.');
    this.#sweep();
    const options = body === undefined ? {} : { parsedBody: body };
    const id = request.headers.get('mcp-session-id');
    if (id !== null) {
      const session = this.#sessions.get(id);
      if (session?.holder !== holder) return refusal(404, -32001, 'Session not found: initialize again.');
      const agreed = asAgreed(request, session.protocolVersion);
      return this.#serve(session, () => session.transport.handleRequest(agreed, options));
    }
    if (request.method !== 'POST' || !isInitialize(body)) {
      return refusal(400, -32000, 'Mcp-Session-Id is missing: initialize first.');
    }
    const session = await this.#begin(holder, await define(), versionOf(body));
    const response = await this.#serve(session, () => session.transport.handleRequest(request, options));
    // An initialization that was refused leaves no session behind.
    if (response.status >= 400) await this.#end(session);
    return response;
  }

  /** Ends every session, and their streams; there will be no more. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sessions.values()].map((session) => this.#end(session)));
  }

  async #begin(
    holder: string,
    definition: ServerDefinition,
    protocolVersion: string | null,
  ): Promise<Session> {
    const id = randomUUID();
    const events = new RecentEvents(this.#budget);
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => id,
      eventStore: events,
      retryInterval: RETRY_MS,
    });
    const connection = await serveMcp(definition, transport);
    const closed = transport.onclose;
    transport.onclose = () => {
      this.#forget(id);
      events.close();
      closed?.();
    };
    const now = Date.now();
    const session: Session = {
      id,
      holder,
      protocolVersion,
      transport,
      connection,
      begunAt: now,
      usedAt: now,
      open: 0,
    };
    this.#sessions.set(id, session);
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
    this.#makeRoom(holder);
    return session;
  }

  async #serve(session: Session, answer: () => Promise<Response>): Promise<Response> {
    this.#touch(session);
    session.open += 1;
    const done = (): void => {
      session.open -= 1;
      this.#touch(session);
    };
    let response: Response;
    try {
      response = await answer();
    } catch (error) {
      done();
      throw error;
    }
    if (!response.body) {
      done();
      return response;
    }
    return new Response(untilEnd(response.body, done), response);
  }

  #touch(session: Session): void {
    session.usedAt = Date.now();
    if (this.#sessions.delete(session.id)) this.#sessions.set(session.id, session);
  }

  #sweep(): void {
    const now = Date.now();
    for (const session of this.#sessions.values()) {
      const idle = session.open === 0 && now - session.usedAt > this.#limits.idleMs;
      if (idle || now - session.begunAt > this.#limits.lifetimeMs) void this.#end(session);
    }
  }

  #makeRoom(holder: string): void {
    const own = [...this.#sessions.values()].filter((session) => session.holder === holder);
    if (own.length > this.#limits.sessionsPerHolder && own[0]) void this.#end(own[0]);
    const [oldest] = this.#sessions.values();
    if (this.#sessions.size > this.#limits.sessions && oldest) void this.#end(oldest);
  }

  async #end(session: Session): Promise<void> {
    this.#forget(session.id);
    await session.connection.close();
  }

  #forget(id: string): void {
    this.#sessions.delete(id);
    if (this.#sessions.size > 0 || !this.#sweeper) return;
    clearInterval(this.#sweeper);
    this.#sweeper = null;
  }
}

/** The same bytes; calls back once, when they have all been read or nobody wants them any more. */
function untilEnd(body: ReadableStream<Uint8Array>, done: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let over = false;
  const end = (): void => {
    if (!over) done();
    over = true;
  };
  return new ReadableStream({
    async pull(controller) {
      try {
        const { value, done: last } = await reader.read();
        if (last) {
          end();
          controller.close();
        } else {
          controller.enqueue(value);
        }
      } catch (error) {
        end();
        controller.error(error);
      }
    },
    async cancel(reason) {
      end();
      await reader.cancel(reason);
    },
  });
}

/** A client that names another known version later than the one agreed upon can do what it agreed to all the same. */
function asAgreed(request: Request, version: string | null): Request {
  const named = request.headers.get('mcp-protocol-version') ?? '';
  if (version === null || named === version || !SUPPORTED_PROTOCOL_VERSIONS.includes(named)) return request;
  const headers = new Headers(request.headers);
  headers.set('mcp-protocol-version', version);
  return new Request(request.url, { method: request.method, headers });
}

function versionOf(body: unknown): string | null {
  const version = initializeSchema.safeParse(body).data?.params.protocolVersion ?? '';
  return SUPPORTED_PROTOCOL_VERSIONS.includes(version) ? version : null;
}

const initializeSchema = z.object({ params: z.object({ protocolVersion: z.string() }) });

const isInitialize = (body: unknown): boolean =>
  (Array.isArray(body) ? (body as unknown[]) : [body]).some(
    (message) =>
      typeof message === 'object' &&
      message !== null &&
      'method' in message &&
      message.method === 'initialize',
  );

const refusal = (status: number, code: number, message: string): Response =>
  Response.json({ jsonrpc: '2.0', error: { code, message }, id: null }, { status });
