/** The arguments of the tools that make jobs, from the table of a job's fields. */
import type { z } from 'zod';
import {
  belongsTo,
  FIELD_NAMES,
  type FieldName,
  fieldOf,
  type JobType,
} from '../../jobs/description/fields.ts';
import { kindOf, schemas } from '../../jobs/description/schemas.ts';

/**
 * By the names of the fields. The API checks the values again, to the letter.
 * @param explained whether all are described; else only those that no other type of job has
 */
export const jobArguments = (type: JobType, explained: boolean): Readonly<Record<string, z.ZodType>> =>
  Object.fromEntries(
    FIELD_NAMES.filter((name) => fieldOf(name).argument && belongsTo(name, type)).map((name) => {
      const { schema, required, asked } = fieldOf(name);
      const kind = kindOf(schema(schemas));
      const taken = asked === undefined ? (required ? kind : kind.optional()) : kind.default(asked as never);
      const isExplained = explained || (fieldOf(name).of?.includes(type) === true && type === 'agent');
      return [name, isExplained ? taken.describe(meaningOf(name, type)) : taken];
    }),
  );

function meaningOf(name: FieldName, type: JobType): string {
  const { meaning, argument, range, setting, asked, default: unasked } = fieldOf(name);
  const usual = asked ?? unasked;
  const hint = typeof argument === 'string' ? `. ${argument}` : '';
  if (setting) return `${meaning}${hint}`;
  if (range) return `${meaning}; ${range[type].default} unless given, at most ${range[type].max}${hint}`;
  // Of true and false the schema has the default.
  return typeof usual === 'string' ? `${meaning}; ${usual} unless given${hint}` : `${meaning}${hint}`;
}
