/** The two shapes of errors, as JSON Schema: those that `middleware/errors.ts` writes. */
import type { OpenAPIRegistry } from '@asteasolutions/zod-to-openapi';
import { type ErrorCode, ERRORS } from '../../../src/errors.ts';

export type SchemaObject = Extract<
  Parameters<OpenAPIRegistry['registerComponent']>[2],
  { allOf?: unknown; propertyNames?: unknown }
>;

const CODES = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => ERRORS[code].status > 0);

export const shapeOf = (
  properties: Readonly<Record<string, SchemaObject>>,
  required: readonly string[] = Object.keys(properties),
): SchemaObject => ({
  type: 'object',
  ...(required.length > 0 ? { required: [...required] } : {}),
  properties: { ...properties },
});

const shared: Readonly<Record<string, SchemaObject>> = {
  details: { type: 'object', additionalProperties: true, description: 'for a program, by code' },
  request_id: { type: 'string', minLength: 1 },
  retryable: { type: 'boolean', description: 'whether the same request may succeed later' },
};

export const errorSchema: SchemaObject = shapeOf({
  error: { type: 'string', enum: CODES },
  message: { type: 'string', minLength: 1, description: 'for a person' },
  ...shared,
});

export const problemSchema: SchemaObject = shapeOf({
  type: { type: 'string', pattern: '^urn:flashpods:error:' },
  title: { type: 'string', minLength: 1 },
  status: { type: 'integer', minimum: 400, maximum: 599 },
  detail: { type: 'string', minLength: 1, description: 'for a person' },
  code: { type: 'string', enum: CODES },
  ...shared,
});
