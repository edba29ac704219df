import { z } from 'zod';
import { JOB_STATES } from '../../../src/jobs/states.ts';
import { timeSchema } from '../time.ts';

export const hostNameParams = z.object({ name: z.string().describe('name of the host') });

export const hostSchema = z.object({
  name: z.string(),
  state: z
    .enum(['up', 'draining', 'suspect', 'lost'])
    .nullable()
    .describe('null while the queue is away, or before the host has registered there'),
  draining: z.boolean().describe('takes nothing new until it is undrained, over all restarts'),
  empty: z.boolean().describe('nothing runs there and nothing is on its way there'),
  jobs: z
    .array(
      z.object({
        id: z.string(),
        owner: z.string(),
        status: z.enum(JOB_STATES),
        started_at: timeSchema.nullable(),
        timeout_minutes: z.int(),
      }),
    )
    .describe('what it still runs'),
});
