/** JSON Schemas as every client takes them, and as short as a model needs them: the whole of a schema is checked here. */
import { z } from 'zod';
import { isRecord } from '../is-record.ts';
import type { ValueSchema } from './tolerant-arguments.ts';

export interface ObjectSchema extends ValueSchema {
  readonly [keyword: string]: unknown;
  readonly type: 'object';
}

/** Beyond this a limit is none, and some clients read no larger numbers. */
const LARGEST = 1_000_000;

/** Keywords that clients refuse or that say nothing to a model. */
const LEFT_OUT = new Set([
  '$schema',
  'propertyNames',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'pattern',
  'format',
]);

/** The whole schema, by which arguments are understood. */
export const wholeSchema = (schema: z.ZodObject): ObjectSchema =>
  z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' }) as ObjectSchema;

/** Of an argument that another tool explains only the type is listed. */
export function inputSchemaOf(schema: z.ZodObject): ObjectSchema {
  const { properties = {}, ...rest } = plain(wholeSchema(schema)) as ObjectSchema;
  const listed = Object.entries(properties).map(([name, property]) => [name, listedOf(property)] as const);
  return { ...rest, properties: Object.fromEntries(listed) };
}

function listedOf(property: ValueSchema): ValueSchema {
  if ('description' in property) return property;
  if (property.type === 'object') return typeOf(property);
  // Some clients want to know what is in a list.
  return property.type === 'array' ? { type: 'array', items: typeOf(property.items) } : property;
}

/** Only what every answer has, by its type: what else is there a model sees when it is. */
export function outputSchemaOf(schema: z.ZodObject): ObjectSchema {
  const { properties = {}, required = [] } = z.toJSONSchema(schema, {
    io: 'output',
    target: 'draft-2020-12',
  }) as ObjectSchema;
  const shown = required.map((name) => [name, typeOf(properties[name])] as const);
  return { type: 'object', properties: Object.fromEntries(shown), required };
}

const typeOf = (schema: ValueSchema | undefined): ValueSchema =>
  schema?.type === undefined ? {} : { type: schema.type };

function isInputKeyword(name: string, value: unknown): boolean {
  if (LEFT_OUT.has(name)) return false;
  // What a tool does not know is taken with a note.
  if (name === 'additionalProperties') return value !== false;
  return !((name === 'maximum' || name === 'minimum') && Math.abs(Number(value)) >= LARGEST);
}

/** `properties` holds names of arguments, all other objects keywords. */
function plain(value: unknown, areNames = false): unknown {
  if (Array.isArray(value)) return value.map((each) => plain(each));
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, each]) => areNames || isInputKeyword(name, each))
      .map(([name, each]) => [name, plain(each, !areNames && name === 'properties')]),
  );
}
