/** One endpoint: what the router serves and what the OpenAPI document says come from the same value. */
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

export interface Operation {
  readonly id: string;
  readonly tag: 'jobs' | 'events' | 'logs and artifacts' | 'uploads' | 'tokens' | 'tenants' | 'server';
  readonly method: 'get' | 'post' | 'put' | 'delete';
  /** OpenAPI's form: `/jobs/{id}`. A last parameter written `{name…}` also takes slashes. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  /** `public`: needs no token. `body`: authenticates by what it carries. */
  readonly scope: Scope | 'public' | 'body';
  /** The cookie of a signed-in browser will do as well as a bearer token. */
  readonly browsers?: true;
  /** Never refused as `rate_limited`. */
  readonly uncounted?: true;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  readonly body?: {
    readonly required: boolean;
    readonly content: Readonly<Record<string, z.ZodType | 'binary'>>;
    /** Bodies of JSON as somebody would send them, by name. */
    readonly examples?: Readonly<Record<string, { readonly summary: string; readonly value: object }>>;
  };
  readonly answers: Readonly<Record<number, Answer>>;
  /** Codes of its own; the document adds those that follow from scope, query, body and rate. */
  readonly errors: readonly ErrorCode[];
  readonly handle: (ctx: RouteContext) => Promise<void> | void;
}

/** `/jobs/{id}/artifacts/{name…}` → `/jobs/:id/artifacts/*name`. */
export const routerPath = (path: string): string =>
  path.replaceAll(/\{(\w+)…\}/g, '*$1').replaceAll(/\{(\w+)\}/g, ':$1');

/** `/jobs/{id}/artifacts/{name…}` → `/jobs/{id}/artifacts/{name}`. */
export const documentPath = (path: string): string => path.replaceAll('…}', '}');
