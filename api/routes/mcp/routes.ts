/** MCP over streamable HTTP at `/mcp`: sessions of the caller's token. The protocol is `src/mcp`'s, loaded at the first call. */
import { Readable } from 'node:stream';
import { FlashpodsError } from '../../../src/errors.ts';
import type { HttpSessions } from '../../../src/mcp/http-sessions.ts';
import type { ServerDefinition } from '../../../src/mcp/server.ts';
import type { Caller } from '../../caller.ts';
import { abandonedOf, type ApiContext, type ApiMiddleware, callerOf } from '../../context.ts';
import type { Authenticate } from '../../middleware/authentication.ts';
import { readJson } from '../../middleware/input.ts';
import { ANY_TOKEN } from '../../router.ts';
import { requireKnownHost } from './hosts.ts';

const PATH = '/mcp';
const METHODS = ['GET', 'POST', 'DELETE'];
/** Each may be a call of a tool. */
const MAX_BATCH = 20;

export interface McpOptions {
  /** Names by which this server may be called, beside addresses and `localhost`; lower case. */
  readonly hosts: readonly string[];
  readonly authenticate: Authenticate;
  /** Counts one more request against the caller's rate. @throws FlashpodsError rate_limited */
  readonly count: (ctx: ApiContext, caller: Caller) => Promise<void>;
  /** Ends every session. */
  readonly stopping: AbortSignal;
  /** What a new session offers. */
  readonly define: (caller: Caller) => Promise<ServerDefinition>;
}

export function mcp({ hosts, authenticate, count, stopping, define }: McpOptions): ApiMiddleware {
  let sessions: Promise<HttpSessions> | undefined;

  async function load(): Promise<HttpSessions> {
    const { HttpSessions } = await import('../../../src/mcp/http-sessions.ts');
    const made = new HttpSessions();
    const close = (): void => void made.close();
    if (stopping.aborted) close();
    else stopping.addEventListener('abort', close, { once: true });
    return made;
  }

  return async (ctx, next) => {
    if (ctx.path !== PATH) {
      await next();
      return;
    }
    await authenticate(ctx, ANY_TOKEN);
    requireKnownHost({ host: ctx.get('Host'), origin: ctx.get('Origin') }, hosts);
    if (!METHODS.includes(ctx.method)) {
      ctx.set('Allow', METHODS.join(', '));
      throw new FlashpodsError('method_not_allowed');
    }
    const body = ctx.method === 'POST' ? await readMessage(ctx) : undefined;
    if (ctx.method === 'POST' && body === undefined) return;
    const caller = callerOf(ctx);
    if (Array.isArray(body)) await countBatch(ctx, body.length);
    // A call may take as long as its job; a GET is a stream that lasts as long as its session.
    const abandoned = abandonedOf(ctx, ctx.method === 'GET' ? 'streams' : 'waiting_requests');
    const response = await (
      await (sessions ??= load())
    ).handle(requestOf(ctx, abandoned), {
      holder: caller.principal.tokenId,
      body,
      define: () => define(caller),
    });
    await answer(ctx, response, abandoned);
  };

  /** @throws FlashpodsError payload_too_large, rate_limited */
  async function countBatch(ctx: ApiContext, messages: number): Promise<void> {
    if (messages > MAX_BATCH) {
      throw new FlashpodsError(
        'payload_too_large',
        `A batch holds at most ${MAX_BATCH} messages; this one holds ${messages}.`,
        { details: { limit: MAX_BATCH } },
      );
    }
    // The request itself was counted when its token was shown.
    for (let nth = 1; nth < messages; nth += 1) await count(ctx, callerOf(ctx));
  }
}

/** @returns undefined when the answer was given: what can't be read is answered as the protocol wants it */
async function readMessage(ctx: ApiContext): Promise<unknown> {
  let unreadable: Buffer | undefined;
  try {
    return await readJson(ctx, { onUnreadable: (bytes) => (unreadable = bytes) });
  } catch (error) {
    if (!(error instanceof FlashpodsError) || error.status >= 500) throw error;
    const { refusalOf, INVALID_REQUEST, unreadable: answerTo } = await import('../../../src/mcp/messages.ts');
    ctx.status = error.status;
    ctx.body = unreadable ? answerTo(unreadable) : refusalOf(null, INVALID_REQUEST, error.message);
    return undefined;
  }
}

/** Without the body, which is parsed already. @param abandoned aborts what is done for it */
function requestOf(ctx: ApiContext, abandoned: AbortSignal): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(ctx.req.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  return new Request(`http://${ctx.get('Host')}${PATH}`, { method: ctx.method, headers, signal: abandoned });
}

async function answer(ctx: ApiContext, response: Response, abandoned: AbortSignal): Promise<void> {
  ctx.status = response.status;
  // A refusal is short, and has to arrive also where the server stops.
  if (!response.body || !response.ok) ctx.body = await response.text();
  else ctx.body = Readable.fromWeb(response.body);
  ctx.remove('Content-Type');
  for (const [name, value] of response.headers) {
    // Hop by hop: Node's own to set.
    if (name !== 'connection') ctx.set(name, value);
  }
  if (!(ctx.body instanceof Readable)) return;
  const stream = ctx.body;
  // A stream may say nothing for long; its client has to learn that it is open.
  ctx.flushHeaders();
  const cut = (): void => void stream.destroy();
  if (abandoned.aborted) cut();
  else abandoned.addEventListener('abort', cut, { once: true });
}
