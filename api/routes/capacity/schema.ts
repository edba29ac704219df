import { z } from 'zod';
import { timeSchema } from '../time.ts';

const resources = z.object({
  cpus: z.number(),
  memory_gb: z.number(),
  disk_gb: z
    .number()
    .optional()
    .describe('what is free and what jobs hold, less a rest; left out where nobody bounds it'),
});

export const capacitySchema = z.object({
  hosts: z.array(
    z.object({
      name: z.string(),
      state: z.enum(['up', 'draining', 'suspect', 'lost']),
      capacity: resources,
      reserved: resources,
      free: resources,
      running_jobs: z.int(),
      last_heartbeat: timeSchema.nullable(),
    }),
  ),
  queue: z.object({ length: z.int(), oldest_wait_seconds: z.number() }),
});
