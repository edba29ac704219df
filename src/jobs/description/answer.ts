/** What the API shows of a job's fields, by the table: the schema of the answer, and the answer. */
import type { z } from 'zod';
import type { Job } from '../job.ts';
import { belongsTo, FIELD_NAMES, type FieldName, fieldOf, JOB_TYPES } from './fields.ts';
import { camel } from './names.ts';
import { kindOf, schemas } from './schemas.ts';
import type { FieldsAnswer, JobSpec } from './types.ts';

const SHOWN = FIELD_NAMES.filter((name) => fieldOf(name).answer !== 'never');

type Shape = {
  readonly [Name in keyof FieldsAnswer]-?: undefined extends FieldsAnswer[Name]
    ? z.ZodOptional<z.ZodType<Exclude<FieldsAnswer[Name], undefined>>>
    : z.ZodType<FieldsAnswer[Name]>;
};

export const answerShape = Object.fromEntries(
  SHOWN.map((name) => [name, answerOf(name)]),
) as unknown as Shape;

function answerOf(name: FieldName): z.ZodType {
  const { schema, meaning, of, default: usual, answer } = fieldOf(name);
  const value = usual === null ? kindOf(schema(schemas)).nullable() : kindOf(schema(schemas));
  const said = [
    meaning,
    of ? `only of type \`${of.join('`, `')}\`` : '',
    answer === 'alone' ? 'left out in lists' : '',
  ];
  const described = value.describe(said.filter((text) => text !== '').join('; '));
  const everywhere = answer !== 'alone' && JOB_TYPES.every((type) => belongsTo(name, type));
  return everywhere ? described : described.optional();
}

/** A request as it would be in force. */
export const specShape = Object.fromEntries(
  SHOWN.filter((name) => name !== 'client_job_id').map((name) => [name, answerOf(name)]),
) as unknown as Omit<Shape, 'client_job_id'>;

export function specFields(spec: JobSpec): Omit<FieldsAnswer, 'client_job_id'> {
  const shown = SHOWN.filter((name) => name !== 'client_job_id' && belongsTo(name, spec.type));
  return Object.fromEntries(
    shown.map((name) => [name, spec[camel(name) as keyof JobSpec]]),
  ) as unknown as Omit<FieldsAnswer, 'client_job_id'>;
}

/** @param alone the answer is about this job alone, and not a list */
export function answerFields(job: Job, alone: boolean): FieldsAnswer {
  const shown = SHOWN.filter(
    (name) => belongsTo(name, job.type) && (alone || fieldOf(name).answer !== 'alone'),
  );
  return Object.fromEntries(
    shown.map((name) => [name, job[camel(name) as keyof Job]]),
  ) as unknown as FieldsAnswer;
}
