import type { z } from 'zod';
import type { HostView } from '../../../src/hosts/service.ts';
import { isoTimeOrNull } from '../time.ts';
import type { hostSchema } from './schema.ts';

export const presentHost = (host: HostView): z.infer<typeof hostSchema> => ({
  name: host.name,
  state: host.state,
  draining: host.draining,
  empty: host.empty,
  jobs: host.jobs.map((job) => ({
    id: job.id,
    owner: job.owner,
    status: job.status,
    started_at: isoTimeOrNull(job.startedAt),
    timeout_minutes: job.timeoutMinutes,
  })),
});
