import type { z } from 'zod';
import type { CapacityReport, Resources } from '../../../src/jobs/ports.ts';
import { isoTimeOrNull } from '../time.ts';
import type { capacitySchema } from './schema.ts';

const resources = ({ cpus, memoryGb }: Resources) => ({ cpus, memory_gb: memoryGb });

export const presentCapacity = (report: CapacityReport): z.infer<typeof capacitySchema> => ({
  hosts: report.hosts.map((host) => ({
    name: host.name,
    state: host.state,
    capacity: resources(host.capacity),
    reserved: resources(host.reserved),
    free: resources(host.free),
    running_jobs: host.runningJobs,
    last_heartbeat: isoTimeOrNull(host.lastHeartbeat),
  })),
  queue: { length: report.queue.length, oldest_wait_seconds: report.queue.oldestWaitSeconds },
});
