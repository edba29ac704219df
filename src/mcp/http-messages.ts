/** Messages of the protocol as bodies of requests and answers of HTTP. */
import { idOf, INVALID_REQUEST, type MessageId, readMessage, refusalOf } from './messages.ts';

/** An error of the protocol as the answer to a request. */
export const refusal = (status: number, code: number, message: string, id: MessageId): Response =>
  Response.json(refusalOf(id, code, message), { status });

/** The id of the first message that has one. */
export const firstId = (body: unknown): MessageId =>
  (Array.isArray(body) ? (body as unknown[]) : [body]).map(idOf).find((id) => id !== null) ?? null;

export interface ReadBody {
  readonly messages: unknown;
  readonly refused: Response | null;
}

/** Of a batch with a broken message nothing is done, and each of its requests hears of it. */
export function readMessages(body: unknown): ReadBody {
  if (!Array.isArray(body) || body.length === 0) {
    const read = readMessage(body);
    if (read.kind === 'message') return { messages: read.message, refused: null };
    const answer = read.kind === 'refused' ? read.refusal : BROKEN_NOTIFICATION;
    return { messages: undefined, refused: Response.json(answer, { status: 400 }) };
  }
  const read = body.map(readMessage);
  const messages = read.flatMap((each) => (each.kind === 'message' ? [each.message] : []));
  if (messages.length === read.length) return { messages, refused: null };
  const answers = read.flatMap((each, index) => {
    if (each.kind === 'refused') return [each.refusal];
    const id = idOf(body[index]);
    return each.kind === 'ignored' || id === null ? [] : [refusalOf(id, INVALID_REQUEST, BROKEN_BATCH)];
  });
  const told = answers.length === 0 ? [BROKEN_NOTIFICATION] : answers;
  return { messages: undefined, refused: Response.json(told, { status: 400 }) };
}

const BROKEN_BATCH = 'Another message of this batch is broken: nothing of it was done.';
const BROKEN_NOTIFICATION = refusalOf(null, INVALID_REQUEST, 'This is no notification of the protocol.');

/** What a client would have sent to begin a session. */
export const initializeMessage = (version: string): object => ({
  jsonrpc: '2.0',
  id: 'taken-up',
  method: 'initialize',
  params: { protocolVersion: version, capabilities: {}, clientInfo: { name: 'unknown', version: '0' } },
});

/** The request that would have carried it. */
export const initialization = (url: string, version: string): Request =>
  new Request(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': version,
    },
  });

/** A stale id would be taken for the one of the session that begins. */
export function withoutSession(request: Request): Request {
  if (!request.headers.has('mcp-session-id')) return request;
  const headers = new Headers(request.headers);
  headers.delete('mcp-session-id');
  return new Request(request.url, { method: request.method, headers });
}
