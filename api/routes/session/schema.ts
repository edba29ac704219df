import { z } from 'zod';

export const openSessionSchema = z.strictObject({ token: z.string().min(1).max(512) });
