/** Streamable HTTP without a web framework: `Request` in, `Response` out. */
import { randomUUID } from 'node:crypto';
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import {
  DEFAULT_NEGOTIATED_PROTOCOL_VERSION,
  SUPPORTED_PROTOCOL_VERSIONS,
} from '@modelcontextprotocol/sdk/types.js';
import { EventBudget, RecentEvents } from './event-store.ts';
import { untilEnd } from './until-end.ts';
import { handleModern, isModern } from './modern.ts';
import { z } from 'zod';
import { RecentMap } from '../recent-map.ts';
import {
  firstId,
  initialization,
  initializeMessage,
  readMessages,
  refusal,
  withoutSession,
} from './http-messages.ts';
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
/** How many ids of ended sessions are remembered. */
const MAX_ENDED = 1_000;
const SESSION_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The same id with another token is another session: nobody learns whether it is there. */
const keyOf = (holder: string, id: string): string => `${holder} ${id}`;

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
  /** Sessions that their clients ended: they are not taken up again. */
  readonly #ended = new RecentMap<string, true>(MAX_ENDED);
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
    const isPost = request.method === 'POST';
    const asked = isPost ? firstId(body) : null;
    if (this.#closed) return refusal(503, -32000, 'The server is stopping.', asked);
    this.#sweep();
    const { messages, refused } = isPost ? readMessages(body) : { messages: undefined, refused: null };
    // Before the version: a message that is none has none.
    if (refused) return refused;
    if (await isModern(request, messages)) return handleModern(request, messages, await define());
    const options = messages === undefined ? {} : { parsedBody: messages };
    const id = request.headers.get('mcp-session-id');
    const begins = isPost && isInitialize(messages);
    if (id !== null && !begins) {
      const known = this.#sessions.get(keyOf(holder, id));
      const session = known ?? (await this.#takeUp(holder, id, request, define));
      if (!session) return refusal(404, -32001, 'Session not found: initialize again.', asked);
      const agreed = asAgreed(request, session.protocolVersion);
      return this.#serve(session, () => session.transport.handleRequest(agreed, options));
    }
    // Also with the id of a session that is over.
    if (!begins) return refusal(400, -32000, 'Mcp-Session-Id is missing: initialize first.', asked);
    const session = await this.#begin(holder, await define(), { version: versionOf(messages) });
    const response = await this.#serve(session, () =>
      session.transport.handleRequest(withoutSession(request), options),
    );
    // An initialization that was refused leaves no session behind.
    if (response.status >= 400) await this.#end(session);
    return response;
  }

  /**
   * A session that this process does not know, such as one of before a restart, or one that was not used for long, begins
   * anew under its id: nothing of it mattered, and many clients stay broken once they are refused. Null for one that its
   * client ended itself, for what is no id of ours, and for a stream that broke off: its answer is lost.
   */
  async #takeUp(
    holder: string,
    id: string,
    request: Request,
    define: () => Promise<ServerDefinition>,
  ): Promise<Session | null> {
    const goesOn = request.headers.has('last-event-id');
    if (request.method === 'DELETE' || goesOn || !SESSION_ID.test(id)) return null;
    if (this.#ended.has(keyOf(holder, id))) return null;
    const named = request.headers.get('mcp-protocol-version') ?? '';
    const version = SUPPORTED_PROTOCOL_VERSIONS.includes(named) ? named : DEFAULT_NEGOTIATED_PROTOCOL_VERSION;
    const definition = await define();
    // Somebody else may have taken it up meanwhile.
    const known = this.#sessions.get(keyOf(holder, id));
    if (known) {
      definition.close?.();
      return known;
    }
    const session = await this.#begin(holder, definition, { version, id });
    const begun = await session.transport.handleRequest(initialization(request.url, version), {
      parsedBody: initializeMessage(version),
    });
    await begun.body?.cancel();
    return session;
  }

  /** Ends every session, and their streams; there will be no more. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sessions.values()].map((session) => this.#end(session)));
  }

  async #begin(
    holder: string,
    definition: ServerDefinition,
    { version: protocolVersion, id = randomUUID() }: { version: string | null; id?: string },
  ): Promise<Session> {
    const events = new RecentEvents(this.#budget);
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => id,
      eventStore: events,
      retryInterval: RETRY_MS,
      onsessionclosed: () => void this.#ended.set(keyOf(holder, id), true),
    });
    const connection = await serveMcp(definition, transport);
    const closed = transport.onclose;
    transport.onclose = () => {
      this.#forget(keyOf(holder, id));
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
    this.#sessions.set(keyOf(holder, id), session);
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
    const key = keyOf(session.holder, session.id);
    if (this.#sessions.delete(key)) this.#sessions.set(key, session);
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
    this.#forget(keyOf(session.holder, session.id));
    await session.connection.close();
  }

  #forget(key: string): void {
    this.#sessions.delete(key);
    if (this.#sessions.size > 0 || !this.#sweeper) return;
    clearInterval(this.#sweeper);
    this.#sweeper = null;
  }
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
