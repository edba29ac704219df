import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js';
import {
  ListRootsResultSchema,
  type ServerNotification,
  type ServerRequest,
} from '@modelcontextprotocol/sdk/types.js';
import type { McpConnectionState } from './capabilities/capability.ts';
import type { CallContext } from './definition.ts';

export type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>;

/** A client answers by itself, without asking anybody. */
const ROOTS_MS = 10_000;

/**
 * Clients send `notifications/cancelled` when their own patience ends, in words of their own or with no reason. So only
 * a reason that says that a person wanted it, and nothing of time, takes the request back: `cancelled by the user`.
 */
const PERSON = /\b(?:user|person|human|operator)\b/i;
const WISH = /\b(?:cancel|abort|stop|interrupt|request|kill|press|reject|den(?:y|ied))/i;
const CLOCK =
  /\b(?:time|timeouts?|timed|deadline|expir\w*|long|longer|patien\w*|wait\w*|seconds?|minutes?|limit|exceed\w*|budget|slow)\b|time-?out|\d\s*m?s\b/i;

/** The SDK's bag of one request behind the interface that tools see. */
export class RequestContext implements CallContext {
  readonly signal: AbortSignal;
  /** All that the protocol could do in this request; what tools need of it is in {@link CallContext}. */
  readonly extra: Extra;
  readonly #connection: McpConnectionState;

  constructor(extra: Extra, connection: McpConnectionState) {
    this.signal = extra.signal;
    this.extra = extra;
    this.#connection = connection;
  }

  get withdrawn(): boolean {
    if (!this.signal.aborted || this.#connection.over) return false;
    const reason: unknown = this.signal.reason;
    return typeof reason === 'string' && PERSON.test(reason) && WISH.test(reason) && !CLOCK.test(reason);
  }

  async roots(): Promise<readonly string[] | null> {
    if (!this.#connection.server.getClientCapabilities()?.roots) return null;
    const { roots } = await this.extra.sendRequest({ method: 'roots/list' }, ListRootsResultSchema, {
      timeout: ROOTS_MS,
    });
    return roots.map(({ uri }) => uri);
  }

  get wantsProgress(): boolean {
    return this.extra._meta?.progressToken !== undefined;
  }

  async progress(done: number, message?: string, total?: number): Promise<void> {
    const progressToken = this.extra._meta?.progressToken;
    if (progressToken === undefined || this.signal.aborted) return;
    const params = {
      progressToken,
      progress: done,
      ...(total === undefined ? {} : { total }),
      ...(message === undefined ? {} : { message }),
    };
    await this.extra.sendNotification({ method: 'notifications/progress', params });
  }
}
