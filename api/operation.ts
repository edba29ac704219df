/**
 * One endpoint as one value: the router serves it, checks its input and its caller by it, and the OpenAPI document is
 * made from it.
 */
import type { z } from 'zod';
import type { ErrorCode } from '../src/errors.ts';
import type { Scope } from '../src/identity/principal.ts';
import type { RouteContext } from './context.ts';

export interface Answer {
  readonly description: string;
  /** Body by media type; a schema for JSON, `binary` for bytes, `text` for text of its own format. None: no body. */
  readonly content?: Readonly<Record<string, z.ZodType | 'binary' | 'text'>>;
  /** Headers particular to this answer, each with a sentence. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer whose body is JSON. */
export const json = (description: string, schema: z.ZodType): Answer => ({
  description,
  content: { 'application/json': schema },
});

/** Who may come in, and what it costs. */
export interface Access {
  /** `any`: every token will do. `public`: needs no token. `body`: authenticates by what it carries. */
  readonly scope: Scope | 'any' | 'public' | 'body';
  /** The cookie of a signed-in browser will do as well as a bearer token. */
  readonly browsers?: true;
  /** Shown how many requests are left, and never refused as `rate_limited`. */
  readonly uncounted?: true;
}

export interface JsonBody<Schema extends z.ZodType = z.ZodType> {
  /** When it is not, no body is the same as `{}`. */
  readonly required: boolean;
  readonly json: Schema;
  /** In place of the schema alone, where wrong fields have codes of their own. @throws FlashpodsError */
  readonly parse?: (value: unknown) => z.output<Schema>;
  /** Bodies as somebody would send them, by name. */
  readonly examples?: Readonly<Record<string, { readonly summary: string; readonly value: object }>>;
}

/** Bytes that the handler reads from the request by itself; only their type is checked before. */
export interface BytesBody {
  readonly required: true;
  readonly bytes: string;
}

/** What a request carries, as the schemas of its operation make it. */
export interface Input<Params = Record<string, unknown>, Query = Record<string, unknown>, Body = unknown> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
}

interface Definition<
  Params extends z.ZodObject,
  Query extends z.ZodObject,
  Body extends z.ZodType,
> extends Access {
  readonly id: string;
  readonly tag: 'jobs' | 'events' | 'logs and artifacts' | 'uploads' | 'tokens' | 'tenants' | 'server';
  readonly method: 'get' | 'post' | 'put' | 'delete';
  /** OpenAPI's form: `/jobs/{id}`. A last parameter written `{name…}` also takes slashes. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: Params;
  /** Strict: a misspelt parameter is an error, not a wish that is ignored. Without it, each parameter is one. */
  readonly query?: Query;
  /** For the document only. */
  readonly headers?: z.ZodObject;
  readonly body?: JsonBody<Body> | BytesBody;
  readonly answers: Readonly<Record<number, Answer>>;
  /** Codes of its own; the document adds those that follow from scope, body and rate, and what all may answer. */
  readonly errors: readonly ErrorCode[];
  handle(
    ctx: RouteContext,
    input: Input<z.output<Params>, z.output<Query>, z.output<Body>>,
  ): Promise<void> | void;
}

export type Operation = Definition<z.ZodObject, z.ZodObject, z.ZodType>;

/** Binds the handler to the types of the operation's own schemas. */
export const operation = <
  Params extends z.ZodObject = z.ZodObject,
  Query extends z.ZodObject = z.ZodObject,
  Body extends z.ZodType = z.ZodType,
>(
  definition: Definition<Params, Query, Body>,
): Operation => definition;

/** Media type and schema of the body, if it takes one. */
export function bodyOf({
  body,
}: Operation): { readonly type: string; readonly schema: z.ZodType | null } | null {
  if (!body) return null;
  return 'json' in body
    ? { type: 'application/json', schema: body.json }
    : { type: body.bytes, schema: null };
}

/** `/jobs/{id}/artifacts/{name…}` → `/jobs/:id/artifacts/*name`. */
export const routerPath = (path: string): string =>
  path.replaceAll(/\{(\w+)…\}/g, '*$1').replaceAll(/\{(\w+)\}/g, ':$1');

/** `/jobs/{id}/artifacts/{name…}` → `/jobs/{id}/artifacts/{name}`. */
export const documentPath = (path: string): string => path.replaceAll('…}', '}');
