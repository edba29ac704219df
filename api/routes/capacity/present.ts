import type { z } from 'zod';
import { inApiUnits } from '../../../src/jobs/amount.ts';
import type { CapacityReport } from '../../../src/jobs/ports.ts';
import { isoTimeOrNull } from '../time.ts';
import type { capacitySchema } from './schema.ts';

export const presentCapacity = (report: CapacityReport): z.infer<typeof capacitySchema> => ({
  hosts: report.hosts.map((host) => ({
    name: host.name,
    state: host.state,
    capacity: inApiUnits(host.capacity),
    reserved: inApiUnits(host.reserved),
    free: inApiUnits(host.free),
    running_jobs: host.runningJobs,
    last_heartbeat: isoTimeOrNull(host.lastHeartbeat),
  })),
  queue: { length: report.queue.length, oldest_wait_seconds: report.queue.oldestWaitSeconds },
});
