/**
 * What a client sends, before the protocol's own code sees it. That code drops a message that it can't read without a
 * word, and its client waits for ever: here every one that is wrong is answered, with its id where it has one.
 */
import {
  ClientRequestSchema,
  type JSONRPCMessage,
  JSONRPCMessageSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { isRecord } from '../is-record.ts';
import { sentenceOf, wrongFields } from '../wrong-fields.ts';

export const PARSE_ERROR = -32700;
export const INVALID_REQUEST = -32600;
const INVALID_PARAMS = -32602;

/** What a message can be told apart by; null where it has nothing of the kind. */
export type MessageId = string | number | null;

export interface Refusal {
  readonly jsonrpc: '2.0';
  readonly id: MessageId;
  readonly error: { readonly code: number; readonly message: string };
}

/** A message for the protocol's own code, what its sender is told instead, or neither: a broken notification. */
export type ReadMessage =
  | { readonly kind: 'message'; readonly message: JSONRPCMessage }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'ignored' };

export const refusalOf = (id: MessageId, code: number, message: string): Refusal => ({
  jsonrpc: '2.0',
  id,
  error: { code, message },
});

/** The id of a message, of any that JSON-RPC knows. */
export const idOf = (value: unknown): MessageId => {
  const id = isRecord(value) ? value['id'] : null;
  return typeof id === 'string' || (typeof id === 'number' && Number.isFinite(id)) ? id : null;
};

const requestSchemas = new Map<string, z.ZodType>();
for (const option of ClientRequestSchema.options as readonly z.ZodObject[]) {
  const method: unknown = option.shape['method'];
  if (method instanceof z.ZodLiteral) requestSchemas.set(String(method.value), option);
}

/** Checks one message. Members that are null count as absent, and members that JSON-RPC does not know are left out. */
export function readMessage(value: unknown): ReadMessage {
  const id = idOf(value);
  const refused = (code: number, message: string): ReadMessage => ({
    kind: 'refused',
    refusal: refusalOf(id, code, message),
  });
  if (!isRecord(value)) return refused(INVALID_REQUEST, 'A message is a JSON object.');
  if (!('method' in value) && ('result' in value || 'error' in value)) return readAnswer(value);
  if (value['jsonrpc'] !== '2.0') return refused(INVALID_REQUEST, '`jsonrpc` has to be "2.0".');
  const { method } = value;
  if (typeof method !== 'string') return refused(INVALID_REQUEST, '`method` has to be a string.');
  const isRequest = 'id' in value;
  if (isRequest && typeof id !== 'string' && !Number.isSafeInteger(id))
    return refused(INVALID_REQUEST, '`id` has to be a string or a whole number.');
  const given = value['params'] ?? undefined;
  if (given !== undefined && !isRecord(given))
    return isRequest ? refused(INVALID_PARAMS, '`params` has to be an object.') : { kind: 'ignored' };
  const params = given === undefined ? {} : { params: withoutNulls(method, given) };
  const message = { jsonrpc: '2.0' as const, method, ...(isRequest ? { id } : {}), ...params };
  const schema = isRequest ? requestSchemas.get(method) : undefined;
  const wrong = schema?.safeParse(message).error ?? JSONRPCMessageSchema.safeParse(message).error;
  if (wrong === undefined) return { kind: 'message', message: message as JSONRPCMessage };
  if (!isRequest) return { kind: 'ignored' };
  return refused(INVALID_PARAMS, `${method}: ${sentenceOf(wrongFields(wrong.issues, 'the message'))}.`);
}

/** An answer to a request of ours. A broken one is told without its id, which is ours and not its sender's. */
function readAnswer(value: Readonly<Record<string, unknown>>): ReadMessage {
  const { jsonrpc, id, result, error } = value;
  const parsed = JSONRPCMessageSchema.safeParse({
    jsonrpc,
    id,
    ...(error === undefined || error === null ? { result } : { error }),
  });
  if (parsed.success) return { kind: 'message', message: parsed.data };
  return {
    kind: 'refused',
    refusal: refusalOf(
      null,
      INVALID_REQUEST,
      'This is no answer to a request: it lacks `id`, `result` or `error`.',
    ),
  };
}

/** `arguments` may also come as JSON text, as some models write it. */
function withoutNulls(
  method: string,
  params: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const kept = Object.fromEntries(Object.entries(params).filter(([, each]) => each !== null));
  const meta = kept['_meta'];
  if (isRecord(meta))
    kept['_meta'] = Object.fromEntries(Object.entries(meta).filter(([, each]) => each !== null));
  const args = kept['arguments'];
  if (method === 'tools/call' && typeof args === 'string') {
    const parsed = parsedJson(args.trim() === '' ? '{}' : args);
    if (isRecord(parsed)) kept['arguments'] = parsed;
  }
  return kept;
}

/** @returns undefined for what is no JSON */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** What is said of bytes that are no message; its id is looked for all the same. */
export function unreadable(bytes: Uint8Array): Refusal {
  const finder = new IdFinder();
  finder.feed(bytes);
  return refusalOf(finder.id, PARSE_ERROR, 'This is no JSON in UTF-8.');
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MAX_ID_BYTES = 200;

/** Finds the `id` of a message in its bytes, also where they are cut off, broken, or too many to keep. */
export class IdFinder {
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  /** Since the last comma or brace of the outermost object: bytes of a member that may be the id. */
  #member: number[] = [];
  #id: MessageId = null;

  get id(): MessageId {
    return this.#id ?? this.#memberId(false);
  }

  feed(bytes: Uint8Array): void {
    for (const byte of bytes) this.#take(byte);
  }

  #take(byte: number): void {
    if (this.#isInString) {
      this.#keep(byte);
      if (this.#isEscaped) this.#isEscaped = false;
      else if (byte === BACKSLASH) this.#isEscaped = true;
      else if (byte === QUOTE) this.#isInString = false;
      return;
    }
    if (byte === QUOTE) {
      this.#isInString = true;
      this.#keep(byte);
    } else if (byte === 0x7b || byte === 0x5b) {
      this.#depth += 1;
      if (this.#depth === 1) this.#member = [];
      else this.#keep(byte);
    } else if (byte === 0x7d || byte === 0x5d) {
      if (this.#depth === 1) this.#endMember();
      this.#depth -= 1;
    } else if (byte === 0x2c && this.#depth === 1) {
      this.#endMember();
    } else {
      this.#keep(byte);
    }
  }

  #keep(byte: number): void {
    if (this.#depth === 1 && this.#member.length <= MAX_ID_BYTES) this.#member.push(byte);
  }

  #endMember(): void {
    this.#id ??= this.#memberId(true);
    this.#member = [];
  }

  /** A number may go on where the message is cut off: only one that has ended is an id. */
  #memberId(hasEnded: boolean): MessageId {
    if (this.#depth !== 1 || this.#member.length > MAX_ID_BYTES) return null;
    const value = /^\s*"id"\s*:\s*(?:(-?\d{1,15})|("(?:[^"\\]|\\.)*"))\s*$/s.exec(
      Buffer.from(this.#member).toString('utf8'),
    );
    if (value?.[2] !== undefined) return idOf({ id: parsedJson(value[2]) });
    return value?.[1] !== undefined && hasEnded ? Number(value[1]) : null;
  }
}
