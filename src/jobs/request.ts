/** `POST /jobs`: a request is checked, and becomes the job's specification after defaults and clamping. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type ErrorCode, FlashpodsError } from '../errors.ts';
import { referenceOf } from '../images/description.ts';
import { sentenceOf, type WrongField, wrongFields } from '../wrong-fields.ts';
import { belongsTo, FIELD_NAMES, type FieldName, fieldOf, JOB_TYPES } from './description/fields.ts';
import type { JobLimits, TypeLimits } from './description/limits.ts';
import { camel } from './description/names.ts';
import { schemas } from './description/schemas.ts';
import type { JobRequest, JobSpec } from './description/types.ts';

const SPEC_FIELDS = FIELD_NAMES.filter((name) => name !== 'type' && name !== 'client_job_id');

/** Every field as it may be given; which of them a type needs and has is checked beside it. */
const requestSchema = z.strictObject(
  Object.fromEntries(
    FIELD_NAMES.map((name) => {
      const schema = fieldOf(name).schema(schemas);
      return [name, name === 'type' ? schema : schema.optional()];
    }),
  ),
);

/** {@link requestSchema} with what each field means and what is in force without it, for the API's document. */
export const describedRequestSchema = (limits: JobLimits): z.ZodType<JobRequest> =>
  z.strictObject(
    Object.fromEntries(
      FIELD_NAMES.map((name) => {
        const field = fieldOf(name);
        const schema = field.schema(schemas);
        const said = [field.meaning, schema.meta()?.description, ...describeUse(name, limits)];
        const described = schema.meta({
          ...schema.meta(),
          description: said.filter(Boolean).join('; '),
          ...(field.default === undefined || field.default === null ? {} : { default: field.default }),
        });
        return [name, name === 'type' ? described : described.optional()];
      }),
    ),
  ) as unknown as z.ZodType<JobRequest>;

function describeUse(name: FieldName, limits: JobLimits): string[] {
  const { of, required, range } = fieldOf(name);
  const types = of ? [`only of type \`${of.join('`, `')}\`${required ? ', which needs it' : ''}`] : [];
  if (!range) return types;
  const key = camel(name) as Exclude<keyof TypeLimits, 'image'>;
  const each = JOB_TYPES.map(
    (type) => `${limits[type][key].default} (at most ${limits[type][key].max}) for a job of type \`${type}\``,
  );
  return [...types, `default ${each.join(', ')}; more is lowered to that`];
}

/** @throws FlashpodsError with the code of the first wrong field, and all wrong fields in `details.fields` */
export function parseCreateJob(body: unknown): JobRequest {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) {
    const fields = wrongFields(parsed.error.issues);
    const name = FIELD_NAMES.find((known) => known === parsed.error.issues[0]?.path[0]);
    const { wrong, missing } = name ? fieldOf(name) : {};
    const given = name ? (body as Readonly<Record<string, unknown>>)[name] : undefined;
    const code = given === undefined || given === '' ? (missing ?? wrong) : wrong;
    throw new FlashpodsError(code ?? 'invalid_request', sentenceOf(fields), {
      details: { field: fields[0]?.field, fields },
    });
  }
  const request = parsed.data as JobRequest & Partial<Record<FieldName, unknown>>;
  const unfit = unfitFields(request);
  const [first] = unfit;
  if (first === undefined) return request;
  // One alone is told by its own code in the catalogue's words.
  const message = unfit.length === 1 && first.isMissing ? undefined : sentenceOf(unfit);
  const fields = unfit.map(({ field, message: said }) => ({ field, message: said }));
  throw new FlashpodsError(first.code, message, { details: { field: first.field, fields } });
}

interface UnfitField extends WrongField {
  readonly code: ErrorCode;
  readonly isMissing: boolean;
}

/** What the type of job needs and the request has not, and what it has that the type has not. */
function unfitFields(request: JobRequest & Partial<Record<FieldName, unknown>>): UnfitField[] {
  const { type } = request;
  return FIELD_NAMES.flatMap((field): UnfitField[] => {
    const { required, missing = 'invalid_request' } = fieldOf(field);
    const isGiven = request[field] !== undefined;
    if (belongsTo(field, type)) {
      if (!required || isGiven) return [];
      return [{ field, code: missing, message: `\`${field}\` is missing`, isMissing: true }];
    }
    if (!isGiven) return [];
    const message = `\`${field}\` does not belong to a job of type ${type}`;
    return [{ field, code: 'invalid_request', message, isMissing: false }];
  });
}

/** Defaults filled in, values above the maximum lowered to it, names in camel case; null for what the type has not. */
export function toJobSpec(request: JobRequest, limits: JobLimits): JobSpec {
  const given: Partial<Record<FieldName, unknown>> = request;
  const { type } = request;
  const values = SPEC_FIELDS.map((name) => {
    const value = belongsTo(name, type) ? valueInForce(name, given[name], limits[type]) : null;
    return [camel(name), value];
  });
  return { type, ...(Object.fromEntries(values) as Omit<JobSpec, 'type'>) } as JobSpec;
}

function refuseNoImage(): never {
  throw new FlashpodsError(
    'invalid_image',
    'An agent job needs an `image` with an agent in it, and this server has no default for it: name one, or set FLASHPODS_AGENT_IMAGE where the server runs.',
    { details: { field: 'image' } },
  );
}

function valueInForce(name: FieldName, given: unknown, limits: TypeLimits): unknown {
  const field = fieldOf(name);
  // The only such setting is the image.
  if (field.setting)
    return referenceOf((given as string | undefined) ?? limits[field.setting] ?? refuseNoImage());
  if (!field.range) {
    const value = given ?? field.default;
    return field.inForce ? field.inForce(value as never) : value;
  }
  const range = limits[camel(name) as Exclude<keyof TypeLimits, 'image'>];
  return Math.min(typeof given === 'number' ? given : range.default, range.max);
}

/** A sentence for each number that was asked for and lowered to its maximum. */
export function loweredToMaximum(request: JobRequest, limits: JobLimits): string[] {
  const given: Partial<Record<FieldName, unknown>> = request;
  return FIELD_NAMES.flatMap((name) => {
    const value = given[name];
    if (!fieldOf(name).range || typeof value !== 'number') return [];
    const { max } = limits[request.type][camel(name) as Exclude<keyof TypeLimits, 'image'>];
    if (value <= max) return [];
    return [
      `\`${name}\` of ${value} is more than a job of type ${request.type} may have here: it gets ${max}.`,
    ];
  });
}

/** What was asked for, of a job that has more. */
export const specOf = (job: JobSpec): JobSpec =>
  Object.fromEntries(
    ['type', ...SPEC_FIELDS.map(camel)].map((key) => [key, job[key as keyof JobSpec]]),
  ) as unknown as JobSpec;

const canonical = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, inner]) => [key, canonical(inner)]),
  );
};

/** SHA-256 of the spec as canonical JSON (keys sorted): equal for requests that ask for the same. */
export function hashSpec(spec: JobSpec): string {
  const asked: Record<string, unknown> = { ...specOf(spec) };
  for (const name of SPEC_FIELDS) {
    const { hashed, default: usual } = fieldOf(name);
    const value = asked[camel(name)];
    const isUsual = JSON.stringify(value) === JSON.stringify(usual);
    if (hashed === 'unless default' && (value === null || isUsual)) delete asked[camel(name)];
  }
  return createHash('sha256')
    .update(JSON.stringify(canonical(asked)))
    .digest('hex');
}

/** For where jobs may not be root. @throws FlashpodsError invalid_request when the job asks for it, or for packages */
export function refuseRoot({ root, packages }: Pick<JobSpec, 'root' | 'packages'>): void {
  // They are installed by root of a container, in an image that the caller chooses.
  const [field, instead] = root
    ? ['root', 'leave `root` out, or choose an image that has what the job needs']
    : ['packages', 'they are installed as root; choose an image that has them'];
  if (!root && packages.length === 0) return;
  throw new FlashpodsError(
    'invalid_request',
    `Jobs may not run as root here (FLASHPODS_ALLOW_ROOT=false): ${instead}.`,
    { details: { field } },
  );
}
