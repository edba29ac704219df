/** Checks what a deployment on this machine needs, in the order in which one would mend it. */
import { type Check, type Result, runChecks } from './check.ts';
import { installationChecks } from './checks/installation.ts';
import { podmanChecks } from './checks/podman.ts';
import { portChecks } from './checks/ports.ts';
import { redisChecks } from './checks/redis.ts';
import { serverChecks } from './checks/server.ts';
import type { DoctorResources } from './resources.ts';

export const checksOf = (resources: DoctorResources): readonly Check[] => [
  ...installationChecks(resources),
  ...redisChecks(resources),
  ...podmanChecks(resources),
  ...portChecks(resources),
  ...serverChecks(resources),
];

/** Yields one result a check, in order, as they come. Never throws for what it finds. */
export const examine = (resources: DoctorResources, stop: AbortSignal): AsyncGenerator<Result> =>
  runChecks(checksOf(resources), stop);
