import type { z } from 'zod';
import type { Token } from '../../../src/identity/token.ts';
import { isoTime, isoTimeOrNull } from '../time.ts';
import type { tokenSchema } from './schema.ts';

export const presentToken = (token: Token, now = Date.now()): z.infer<typeof tokenSchema> => ({
  name: token.name,
  owner: token.owner,
  scopes: [...token.scopes],
  created_at: isoTime(token.createdAt),
  expires_at: isoTimeOrNull(token.expiresAt),
  expired: token.expiresAt !== null && token.expiresAt <= now,
});
