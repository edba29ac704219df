/** The OpenAPI 3.1 document, from the operations that are served and the schemas that check their requests. */
import { OpenAPIRegistry, OpenApiGeneratorV31, type ResponseConfig } from '@asteasolutions/zod-to-openapi';
import type { z } from 'zod';
import { type ErrorCode, ERRORS } from '../../../src/errors.ts';
import { VERSION } from '../../../src/version.ts';
import { SESSION_COOKIE } from '../../middleware/authentication.ts';
import { type Answer, bodyOf, documentPath, type Operation } from '../../operation.ts';
import { problemSchema, errorSchema, type SchemaObject, shapeOf } from './error-schema.ts';

const TAGS: Readonly<Record<Operation['tag'], string>> = {
  jobs: 'Create, watch, cancel and repeat jobs.',
  events: 'What happens, as it happens.',
  'logs and artifacts': 'What a job printed and what it left.',
  uploads: 'Files for jobs.',
  tokens: 'Who may do what.',
  tenants: 'How much each owner may have.',
  server: 'The service itself.',
};

const DESCRIPTION = `Runs jobs in containers. \`Authorization: Bearer <token>\` on everything that names a scope.

Errors have one shape (\`Error\`), or that of RFC 9457 (\`Problem\`) for \`Accept: application/problem+json\`.
What answers GET also answers HEAD, without the body.

Besides what is listed with each operation: a path that is not here is answered with 404 \`not_found\`; a method that a
path does not take with 405 \`method_not_allowed\` and \`Allow\` (both only to callers with a token); what can't be read
as HTTP with 400, 408 or 431, all \`invalid_request\`.`;

export type OpenApiDocument = ReturnType<OpenApiGeneratorV31['generateDocument']>;

export function openApiDocument(operations: readonly Operation[]): OpenApiDocument {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  registry.registerComponent('securitySchemes', 'session', {
    type: 'apiKey',
    in: 'cookie',
    name: SESSION_COOKIE,
    description: 'of a browser that signed in with `POST /session`, for the pages of this server',
  });
  registry.registerComponent('schemas', 'Error', errorSchema);
  registry.registerComponent('schemas', 'Problem', problemSchema);
  for (const operation of operations) registry.registerPath(pathOf(operation));
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Flashpods',
      version: VERSION,
      description: DESCRIPTION,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(operations.map((operation) => operation.tag))].map((name) => ({
      name,
      description: TAGS[name],
    })),
  });
}

function pathOf(operation: Operation): Parameters<OpenAPIRegistry['registerPath']>[0] {
  const body = bodyOf(operation);
  const examples = operation.body && 'json' in operation.body ? operation.body.examples : undefined;
  const request = {
    ...(operation.params ? { params: operation.params } : {}),
    ...(operation.query ? { query: operation.query } : {}),
    ...(operation.headers ? { headers: operation.headers } : {}),
    ...(body
      ? {
          body: {
            required: operation.body?.required === true,
            content: {
              [body.type]: {
                schema: schemaOf(body.schema ?? 'binary'),
                ...(examples ? { examples: { ...examples } } : {}),
              },
            },
          },
        }
      : {}),
  };
  const scope = scopeOf(operation);
  return {
    operationId: operation.id,
    tags: [operation.tag],
    method: operation.method,
    path: documentPath(operation.path),
    summary: operation.summary,
    description: [operation.description, scope ? `Scope: \`${scope}\`.` : null].filter(Boolean).join('\n\n'),
    security: scope ? [{ bearer: [] }, ...(operation.browsers ? [{ session: [] }] : [])] : [],
    request,
    responses: { ...successResponses(operation), ...errorResponses(operation) },
  };
}

const scopeOf = ({ scope }: Operation): string | null =>
  scope === 'public' || scope === 'body' ? null : scope;

function schemaOf(content: z.ZodType | 'binary' | 'text'): z.ZodType | { type: 'string' } {
  return typeof content === 'string' ? { type: 'string' } : content;
}

const headerOf = (description: string, required = false) => ({
  description,
  ...(required ? { required } : {}),
  schema: { type: 'string' as const },
});

const REQUEST_ID = headerOf('what the log calls the request; the caller’s own, if that is harmless', true);
const RATE_HEADERS = {
  'X-RateLimit-Limit': headerOf('requests at once', true),
  'X-RateLimit-Remaining': headerOf('requests left', true),
  'X-RateLimit-Reset': headerOf('when all are left again, seconds since the Unix epoch', true),
};
const STATUS_HEADERS: Readonly<Record<number, Readonly<Record<string, ReturnType<typeof headerOf>>>>> = {
  401: { 'WWW-Authenticate': headerOf('`Bearer`', true) },
  429: { 'Retry-After': headerOf('seconds; left out where nobody knows') },
  503: { 'Retry-After': headerOf('seconds') },
};

function successResponses(operation: Operation): Record<string, ResponseConfig> {
  return Object.fromEntries(
    Object.entries(operation.answers).map(([status, answer]) => [status, responseOf(Number(status), answer)]),
  );
}

function responseOf(status: number, answer: Answer): ResponseConfig {
  // A status that the catalogue of errors lacks, such as 416, has the shape of errors all the same.
  if (status >= 400 && !answer.content) {
    return errorResponse(status, answer.description, ['invalid_request']);
  }
  const content = Object.entries(answer.content ?? {});
  return {
    description: answer.description,
    headers: {
      'X-Request-Id': REQUEST_ID,
      ...RATE_HEADERS,
      ...Object.fromEntries(
        Object.entries(answer.headers ?? {}).map(([name, description]) => [name, headerOf(description)]),
      ),
    },
    ...(content.length > 0
      ? { content: Object.fromEntries(content.map(([type, schema]) => [type, { schema: schemaOf(schema) }])) }
      : {}),
  };
}

/** Every code that the operation may answer: its own, and those that follow from what it declares. */
export function errorCodesOf(operation: Operation): ReadonlySet<ErrorCode> {
  const body = bodyOf(operation);
  const database: ErrorCode[] = ['internal_error', 'database_error'];
  return new Set<ErrorCode>([
    ...operation.errors,
    ...(scopeOf(operation) === null
      ? []
      : ([
          'missing_authorization',
          'malformed_authorization',
          'invalid_token',
          'insufficient_scope',
        ] as const)),
    ...(operation.uncounted ? [] : (['rate_limited'] as const)),
    // Unknown query parameters.
    'invalid_request',
    ...(body ? (['unsupported_media_type'] as const) : []),
    ...(body?.schema ? (['payload_too_large'] as const) : []),
    ...database,
  ]);
}

/** One response a status, with the codes that come with it. */
function errorResponses(operation: Operation): Record<string, ResponseConfig> {
  const byStatus = Map.groupBy(errorCodesOf(operation), (code) => ERRORS[code].status);
  return Object.fromEntries(
    [...byStatus]
      .filter(([status]) => operation.answers[status] === undefined)
      .map(([status, codes]) => [
        String(status),
        errorResponse(
          status,
          codes.map((code) => `\`${code}\`: ${ERRORS[code].meaning}`).join('\n\n'),
          codes,
        ),
      ]),
  );
}

function errorResponse(status: number, description: string, codes: readonly ErrorCode[]): ResponseConfig {
  const narrowed = (name: 'Error' | 'Problem', field: string): { schema: SchemaObject } => ({
    schema: {
      allOf: [
        { $ref: `#/components/schemas/${name}` },
        shapeOf({ [field]: { type: 'string', enum: [...codes] } }, []),
      ],
    },
  });
  return {
    description,
    headers: { 'X-Request-Id': REQUEST_ID, ...STATUS_HEADERS[status] },
    content: {
      'application/json': narrowed('Error', 'error'),
      'application/problem+json': narrowed('Problem', 'code'),
    },
  };
}
