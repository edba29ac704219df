/** Reads what a request carries, and checks it by the schemas of its operation. */
import getRawBody from 'raw-body';
import { z } from 'zod';
import { FlashpodsError } from '../../src/errors.ts';
import { within } from '../../src/timing/within.ts';
import { sentenceOf, wrongFields } from '../../src/wrong-fields.ts';
import type { ApiContext, RouteContext } from '../context.ts';
import type { Input, Operation } from '../operation.ts';

export const MAX_JSON_BYTES = 1_048_576;
/** A JSON body that takes longer than this to arrive is given up. */
const ARRIVAL_MS = 30_000;

const NO_QUERY = z.strictObject({});

/**
 * Path, query and body. A path that an operation does not describe stays as it is; a query that it does not describe is
 * empty.
 * @throws FlashpodsError invalid_request that names every wrong field, payload_too_large, unsupported_media_type, or
 *   what the body's own `parse` throws
 */
export async function inputOf(
  ctx: RouteContext,
  { params, query = NO_QUERY, body }: Operation,
): Promise<Input> {
  const given = { params: { ...ctx.params }, query: { ...ctx.query }, body: await bodyOf(ctx, body) };
  const json = body && 'json' in body ? body : undefined;
  const parsed = {
    params: params?.safeParse(given.params),
    query: query.safeParse(given.query),
    body: json?.parse ? undefined : json?.json.safeParse(given.body),
  };
  const issues = [parsed.params, parsed.query, parsed.body].flatMap((each) => each?.error?.issues ?? []);
  if (issues.length > 0) refuse(issues);
  return {
    params: parsed.params?.data ?? given.params,
    query: parsed.query.data ?? {},
    body: json?.parse ? json.parse(given.body) : parsed.body?.data,
  };
}

async function bodyOf(ctx: RouteContext, body: Operation['body']): Promise<unknown> {
  if (!body) return undefined;
  if ('json' in body) return readJson(ctx, { optional: !body.required });
  if (contentTypeOf(ctx).type === body.bytes) return undefined;
  throw new FlashpodsError('unsupported_media_type', `Send the body as \`Content-Type: ${body.bytes}\`.`);
}

/** @throws FlashpodsError invalid_request that names every wrong field */
export function check<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  return refuse(parsed.error.issues);
}

/** The message names all of them, and so does `details.fields`. */
function refuse(issues: readonly z.core.$ZodIssue[]): never {
  const fields = wrongFields(issues);
  throw new FlashpodsError('invalid_request', sentenceOf(fields), {
    details: { field: fields[0]?.field, fields },
  });
}

/** Media type and parameters of a `Content-Type`, in lower case. */
function contentTypeOf(ctx: ApiContext | RouteContext): { type: string; charset: string | null } {
  const [type = '', ...parameters] = ctx.get('Content-Type').toLowerCase().split(';');
  const charset = parameters
    .map((parameter) => /^\s*charset\s*=\s*"?([^"\s]+)"?\s*$/.exec(parameter)?.[1])
    .find(Boolean);
  return { type: type.trim(), charset: charset ?? null };
}

const hasBody = (ctx: ApiContext | RouteContext): boolean =>
  ctx.get('Transfer-Encoding') !== '' || Number(ctx.get('Content-Length') || '0') > 0;

/**
 * The body as JSON; an empty object when there is none and it may be left out.
 * @throws FlashpodsError payload_too_large, unsupported_media_type, invalid_request
 */
export async function readJson(
  ctx: ApiContext | RouteContext,
  options: { readonly optional?: boolean; readonly onUnreadable?: (bytes: Buffer) => void } = {},
): Promise<unknown> {
  if (!hasBody(ctx)) {
    if (options.optional) return {};
    throw wrongBody('a JSON object is missing');
  }
  const { type, charset } = contentTypeOf(ctx);
  if (type !== 'application/json' || (charset !== null && charset !== 'utf-8' && charset !== 'utf8')) {
    throw new FlashpodsError(
      'unsupported_media_type',
      'Send the body as `Content-Type: application/json` in UTF-8.',
    );
  }
  if (!['', 'identity'].includes(ctx.get('Content-Encoding').toLowerCase())) {
    throw new FlashpodsError(
      'unsupported_media_type',
      'A JSON body is taken without `Content-Encoding` only.',
    );
  }
  const bytes = await readAll(ctx);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch (cause) {
    options.onUnreadable?.(bytes);
    throw wrongBody('not valid JSON in UTF-8', cause);
  }
}

async function readAll({ req }: ApiContext | RouteContext): Promise<Buffer> {
  const length = req.headers['content-length'] ?? null;
  try {
    const bytes = await within(getRawBody(req, { length, limit: MAX_JSON_BYTES }), ARRIVAL_MS, null);
    if (bytes) return bytes;
    throw wrongBody(`not complete within ${ARRIVAL_MS / 1_000} seconds`);
  } catch (error) {
    const { status } = error as { status?: number };
    if (error instanceof FlashpodsError) throw error;
    if (status === 413) {
      throw new FlashpodsError('payload_too_large', undefined, { details: { max_bytes: MAX_JSON_BYTES } });
    }
    if (status === 400) throw wrongBody('it ended early', error);
    throw error;
  }
}

const wrongBody = (problem: string, cause?: unknown): FlashpodsError =>
  new FlashpodsError('invalid_request', `the body: ${problem}`, { cause, details: { field: '' } });
