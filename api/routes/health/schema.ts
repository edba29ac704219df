import { z } from 'zod';

const check = z.enum(['ok', 'down']).optional();

export const healthSchema = z.object({
  status: z.enum(['healthy', 'degraded', 'unhealthy']),
  version: z.string(),
  uptime_seconds: z.number(),
  checks: z.object({ database: check, redis: check, podman: check, disk: check }),
});
