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

/** By the names of the fields. The API checks the values again, to the letter. */
export const jobArguments = (type: JobType): Readonly<Record<string, z.ZodType>> =>
  Object.fromEntries(
    FIELD_NAMES.filter((name) => fieldOf(name).argument && belongsTo(name, type)).map((name) => {
      const { schema, required, asked } = fieldOf(name);
      const kind = kindOf(schema(schemas));
      const taken = asked === undefined ? (required ? kind : kind.optional()) : kind.default(asked as never);
      return [name, taken.describe(meaningOf(name, type))];
    }),
  );

function meaningOf(name: FieldName, type: JobType): string {
  const { meaning, argument, range, setting, asked, default: unasked } = fieldOf(name);
  const usual = asked ?? unasked;
  const hint = typeof argument === 'string' ? `. ${argument}` : '';
  if (setting) return `${meaning}; the default is the server’s${hint}`;
  if (range)
    return `${meaning}; the default is ${range[type].default}, at most ${range[type].max}, unless the server is set otherwise${hint}`;
  return typeof usual === 'string' || typeof usual === 'boolean'
    ? `${meaning}; the default is ${usual}${hint}`
    : `${meaning}${hint}`;
}
