import type { Server } from '@modelcontextprotocol/sdk/server/index.js';
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js';
import {
  type CreateMessageRequestParams,
  CreateMessageResultSchema,
  type ElicitRequestFormParams,
  type ElicitResult,
  ElicitResultSchema,
  type LoggingLevel,
  type ServerNotification,
  type ServerRequest,
} from '@modelcontextprotocol/sdk/types.js';
import type { CallContext } from './definition.ts';

export type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>;

/** What requests of one connection share. */
export interface ConnectionState {
  readonly server: Server;
  /** The other end is gone. */
  over: boolean;
  minimumLevel: LoggingLevel;
}

/** RFC 5424, the least severe first. */
const LEVELS: readonly LoggingLevel[] = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
];

/** Clients of the SDKs send `notifications/cancelled` when their own patience ends, and say so in the reason. */
const LOST_PATIENCE = /tim(?:ed?[\s_-]?)out/i;

/** The SDK's bag of one request behind the interface that tools see. */
export class RequestContext implements CallContext {
  readonly signal: AbortSignal;
  readonly #extra: Extra;
  readonly #connection: ConnectionState;

  constructor(extra: Extra, connection: ConnectionState) {
    this.signal = extra.signal;
    this.#extra = extra;
    this.#connection = connection;
  }

  get withdrawn(): boolean {
    if (!this.signal.aborted || this.#connection.over) return false;
    const reason: unknown = this.signal.reason;
    return !(typeof reason === 'string' && LOST_PATIENCE.test(reason));
  }

  get wantsProgress(): boolean {
    return this.#extra._meta?.progressToken !== undefined;
  }

  async progress(done: number, message?: string, total?: number): Promise<void> {
    const progressToken = this.#extra._meta?.progressToken;
    if (progressToken === undefined || this.signal.aborted) return;
    const params = {
      progressToken,
      progress: done,
      ...(total === undefined ? {} : { total }),
      ...(message === undefined ? {} : { message }),
    };
    await this.#extra.sendNotification({ method: 'notifications/progress', params });
  }

  async log(level: LoggingLevel, data: unknown): Promise<void> {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(this.#connection.minimumLevel) || this.signal.aborted) return;
    await this.#extra.sendNotification({
      method: 'notifications/message',
      params: { level, logger: 'flashpods', data },
    });
  }

  async sample(params: CreateMessageRequestParams): Promise<{ readonly content: unknown }> {
    if (!this.#connection.server.getClientCapabilities()?.sampling) {
      throw new Error('The client does not support sampling.');
    }
    return this.#extra.sendRequest({ method: 'sampling/createMessage', params }, CreateMessageResultSchema);
  }

  async elicit(params: ElicitRequestFormParams): Promise<ElicitResult> {
    if (!this.#connection.server.getClientCapabilities()?.elicitation) {
      throw new Error('The client does not support elicitation.');
    }
    return this.#extra.sendRequest({ method: 'elicitation/create', params }, ElicitResultSchema);
  }

  closeStream(): void {
    this.#extra.closeSSEStream?.();
  }
}
