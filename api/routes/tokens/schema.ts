import { z } from 'zod';
import { SCOPES } from '../../../src/identity/principal.ts';
import { timeSchema } from '../time.ts';

/** Goes into paths, logs and tables as it is. */
const word = z
  .string()
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?$/,
    'must be letters, digits, dots, hyphens, underscores and @, at most 63',
  );

export const ownerName = word;

export const tokenNameParams = z.strictObject({ name: z.string().describe('name of the token') });

export const createTokenSchema = z.strictObject({
  name: word.describe('to list and revoke it by; free again once revoked'),
  owner: word.describe('whose jobs and uploads it makes and sees; several tokens may share one'),
  scopes: z
    .array(z.enum(SCOPES))
    .min(1, 'must name at least one')
    .max(SCOPES.length)
    .describe('`admin` includes the others, and sees every owner’s things'),
  expires_at: z.iso
    .datetime({ offset: true, error: 'must be a time such as 2030-01-31T00:00:00Z' })
    .nullable()
    .default(null)
    .describe('when it expires; left out: never'),
});

export const tokenSchema = z.object({
  name: z.string(),
  owner: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  created_at: timeSchema,
  expires_at: timeSchema.nullable(),
  expired: z.boolean(),
});

export const createdTokenSchema = tokenSchema.extend({
  token: z.string().describe('the bearer token itself; it is shown here and never again'),
});

export const tokenListSchema = z.object({ tokens: z.array(tokenSchema) });
