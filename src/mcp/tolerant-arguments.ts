/**
 * What models send instead of what a schema says: numbers and objects as text, null for what is left out, names that
 * the tool does not have. All that can be meant in one way only is taken; what else was done is told in notes.
 */
import { isRecord } from '../is-record.ts';
import { parsedJson } from './messages.ts';

/** A JSON Schema, as far as it matters here. */
export interface ValueSchema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, ValueSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | ValueSchema;
  readonly items?: ValueSchema;
  readonly enum?: readonly unknown[];
  readonly maximum?: number;
}

export interface Taken {
  readonly args: unknown;
  readonly notes: readonly string[];
}

/** Names of arguments that are not there are many, when a model makes them up. */
const MAX_NOTES = 10;
const MAX_NAME = 60;

/** What is given, as the schema wants it as far as that can be; what is left wrong is the schema's to refuse. */
export function takeArguments(schema: ValueSchema, given: unknown): Taken {
  const notes: string[] = [];
  const args = taken(schema, given ?? {}, '', notes);
  return { args, notes: notes.slice(0, MAX_NOTES) };
}

const ABSENT = Symbol('absent');

function taken(schema: ValueSchema, value: unknown, path: string, notes: string[]): unknown {
  switch (schema.type) {
    case 'string':
      return asString(schema, value);
    case 'integer':
    case 'number':
      return asNumber(schema, value, path, notes);
    case 'boolean':
      return asBoolean(value);
    case 'array':
      return asArray(schema, value, path, notes);
    case 'object':
      return asObject(schema, value, path, notes);
    default:
      return value;
  }
}

function asString({ enum: choices }: ValueSchema, value: unknown): unknown {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (!choices || typeof value !== 'string') return value;
  const meant = value.trim().toLowerCase();
  return meant === '' ? ABSENT : (choices.find((each) => String(each).toLowerCase() === meant) ?? value);
}

function asNumber(schema: ValueSchema, value: unknown, path: string, notes: string[]): unknown {
  const number = typeof value === 'string' ? numberOf(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) return number;
  const whole = schema.type === 'integer' ? Math.ceil(number) : number;
  if (whole !== number) notes.push(`${path} ${number} is not whole: ${whole} was taken.`);
  const { maximum } = schema;
  if (maximum === undefined || whole <= maximum) return whole;
  notes.push(`${path} ${whole} was lowered to ${maximum}.`);
  return maximum;
}

function numberOf(text: string): unknown {
  const plain = text.trim();
  if (isNothing(plain)) return ABSENT;
  return /^[+-]?\d+(?:\.\d+)?(?:e\d+)?$/i.test(plain) ? Number(plain) : text;
}

/** The ways in which languages write that there is no value. */
const isNothing = (text: string): boolean => ['', 'null', 'none', 'undefined'].includes(text.toLowerCase());

const BOOLEANS = new Map([
  ['true', true],
  ['yes', true],
  ['1', true],
  ['false', false],
  ['no', false],
  ['0', false],
]);

function asBoolean(value: unknown): unknown {
  if (typeof value !== 'string' && typeof value !== 'number') return value;
  const plain = String(value).trim().toLowerCase();
  return BOOLEANS.get(plain) ?? (isNothing(plain) ? ABSENT : value);
}

function asArray({ items = {} }: ValueSchema, value: unknown, path: string, notes: string[]): unknown {
  let list = value;
  if (typeof value === 'string') {
    const plain = value.trim();
    if (isNothing(plain)) return ABSENT;
    const parsed = plain.startsWith('[') ? parsedJson(plain) : undefined;
    list = Array.isArray(parsed) ? parsed : [value];
  } else if (isRecord(value) && items.type === 'object') {
    list = [value];
  }
  if (!Array.isArray(list)) return value;
  return (list as unknown[])
    .map((each, index) => (each === null ? ABSENT : taken(items, each, `${path}.${index}`, notes)))
    .filter((each) => each !== ABSENT);
}

function asObject(schema: ValueSchema, value: unknown, path: string, notes: string[]): unknown {
  const object = objectOf(schema, value);
  if (!isRecord(object)) return object;
  const { properties, additionalProperties } = schema;
  const pairs: [string, unknown][] = [];
  for (const [given, each] of Object.entries(object)) {
    if (each === null) continue;
    const found = properties ? nameIn(properties, given, object) : given;
    const name = found ?? (additionalProperties === false ? null : given);
    const of =
      name === null
        ? null
        : (properties?.[name] ?? (isRecord(additionalProperties) ? additionalProperties : {}));
    const where = path === '' ? given : `${path}.${given}`;
    if (name === null || of === null) {
      notes.push(`There is no argument ${JSON.stringify(where.slice(0, MAX_NAME))}: it was ignored.`);
      continue;
    }
    const result = taken(of, each, where, notes);
    if (result !== ABSENT) pairs.push([name, result]);
  }
  return Object.fromEntries(pairs);
}

/** The property that is meant: `jobId` and `job-id` mean `job_id`, unless that is there, too. */
function nameIn(
  properties: Readonly<Record<string, ValueSchema>>,
  given: string,
  all: Readonly<Record<string, unknown>>,
): string | null {
  if (Object.hasOwn(properties, given)) return given;
  const meant = plainName(given);
  return (
    Object.keys(properties).find((name) => plainName(name) === meant && !Object.hasOwn(all, name)) ?? null
  );
}

const plainName = (name: string): string => name.toLowerCase().replaceAll(/[_-]/g, '');

/** JSON text; a text for the one that an object needs, or has first; true for one that needs nothing; `["A=1"]` for an object of any names. */
function objectOf(schema: ValueSchema, value: unknown): unknown {
  if (Array.isArray(value) && isRecord(schema.additionalProperties)) {
    const pairs = (value as unknown[]).map((each) => /^([^=]+)=(.*)$/s.exec(String(each)));
    const fits = pairs.every((pair) => pair !== null);
    return fits ? Object.fromEntries(pairs.map(([, name = '', text = '']) => [name, text])) : value;
  }
  if (typeof value === 'boolean' && schema.properties && !schema.required?.length) return value ? {} : ABSENT;
  if (typeof value !== 'string') return value;
  const plain = value.trim();
  if (isNothing(plain)) return ABSENT;
  const parsed = plain.startsWith('{') ? parsedJson(plain) : undefined;
  if (isRecord(parsed)) return parsed;
  const [only = Object.keys(schema.properties ?? {})[0], another] = schema.required ?? [];
  const isText = only !== undefined && another === undefined && schema.properties?.[only]?.type === 'string';
  return isText ? { [only]: value } : value;
}
