/** The OpenAPI 3.1 document, from the operations that are served and the schemas that check their requests. */
import { OpenAPIRegistry, OpenApiGeneratorV31, type ResponseConfig } from '@asteasolutions/zod-to-openapi';
import type { z } from 'zod';
import { type ErrorCode, ERRORS } from '../../../src/errors.ts';
import { VERSION } from '../../../src/version.ts';
import { type Answer, documentPath, type Operation } from '../../operation.ts';

const EVERYWHERE: readonly ErrorCode[] = ['rate_limited', 'internal_error', 'database_error'];
const WITH_TOKEN: readonly ErrorCode[] = [
  'missing_authorization',
  'malformed_authorization',
  'invalid_token',
  'insufficient_scope',
];

export type OpenApiDocument = ReturnType<OpenApiGeneratorV31['generateDocument']>;

export function openApiDocument(operations: readonly Operation[]): OpenApiDocument {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  registry.registerComponent('schemas', 'Error', {
    type: 'object',
    required: ['error', 'message', 'details', 'request_id', 'retryable'],
    properties: {
      error: { type: 'string', enum: Object.keys(ERRORS).filter((code) => statusOf(code as ErrorCode) > 0) },
      message: { type: 'string', description: 'for a person' },
      details: { type: 'object', additionalProperties: true },
      request_id: { type: 'string' },
      retryable: { type: 'boolean' },
    },
  });
  for (const operation of operations) registry.registerPath(pathOf(operation));
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Flashpods',
      version: VERSION,
      description:
        'Runs jobs in containers. `Authorization: Bearer <token>` on everything that names a scope.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(operations.map((operation) => operation.tag))].map((name) => ({ name })),
  });
}

const statusOf = (code: ErrorCode): number => ERRORS[code].status;

function pathOf(operation: Operation): Parameters<OpenAPIRegistry['registerPath']>[0] {
  const request = {
    ...(operation.params ? { params: operation.params } : {}),
    ...(operation.query ? { query: operation.query } : {}),
    ...(operation.body
      ? {
          body: {
            required: operation.body.required,
            content: Object.fromEntries(
              Object.entries(operation.body.content).map(([type, schema]) => [
                type,
                { schema: schemaOf(schema) },
              ]),
            ),
          },
        }
      : {}),
  };
  const scope = operation.scope === 'public' || operation.scope === 'body' ? null : operation.scope;
  return {
    operationId: operation.id,
    tags: [operation.tag],
    method: operation.method,
    path: documentPath(operation.path),
    summary: operation.summary,
    description: [operation.description, scope ? `Scope: \`${scope}\`.` : null].filter(Boolean).join('\n\n'),
    security: scope ? [{ bearer: [] }] : [],
    request,
    responses: {
      ...Object.fromEntries(
        Object.entries(operation.answers).map(([status, answer]) => [status, responseOf(answer)]),
      ),
      ...errorResponses(operation, scope !== null),
    },
  };
}

function schemaOf(content: z.ZodType | 'binary' | 'text'): z.ZodType | { type: 'string' } {
  return typeof content === 'string' ? { type: 'string' } : content;
}

function responseOf(answer: Answer): ResponseConfig {
  const content = Object.entries(answer.content ?? {});
  return {
    description: answer.description,
    ...(content.length > 0
      ? { content: Object.fromEntries(content.map(([type, schema]) => [type, { schema: schemaOf(schema) }])) }
      : {}),
    ...(answer.headers
      ? {
          headers: Object.fromEntries(
            Object.entries(answer.headers).map(([name, description]) => [
              name,
              { description, schema: { type: 'string' as const } },
            ]),
          ),
        }
      : {}),
  };
}

/** One response a status, with the codes that come with it. */
function errorResponses(operation: Operation, authenticated: boolean): Record<string, ResponseConfig> {
  const codes = new Set([...operation.errors, ...EVERYWHERE, ...(authenticated ? WITH_TOKEN : [])]);
  const byStatus = Map.groupBy(codes, statusOf);
  const schema = { $ref: '#/components/schemas/Error' };
  const responses = [...byStatus].map(([status, group]): [string, ResponseConfig] => [
    String(status),
    {
      description: group.map((code) => `\`${code}\`: ${ERRORS[code].meaning}`).join('\n\n'),
      content: { 'application/json': { schema }, 'application/problem+json': { schema: { type: 'object' } } },
    },
  ]);
  return Object.fromEntries(responses.filter(([status]) => operation.answers[Number(status)] === undefined));
}
