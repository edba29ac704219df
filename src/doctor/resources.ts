/** What the checks look at. */
import type { Redis } from 'ioredis';
import type { ClientEnvironment } from '../client/environment.ts';
import type { ConnectionFlags } from '../client/connection.ts';
import type { Config } from '../config.ts';
import type { PodmanProbe } from './podman-probe.ts';

export interface DoctorResources {
  readonly config: Config;
  /** Whether flag, variable or file names it. */
  readonly isConfigured: (setting: keyof Config) => boolean;
  readonly client: ClientEnvironment;
  readonly connection: ConnectionFlags;
  readonly podman: PodmanProbe;
  /** One sentence for each sum in Redis that differs from what the reservations add up to. */
  readonly auditSums: (redis: Redis) => Promise<readonly string[]>;
  /** Where the rsync daemon of this installation keeps its record. */
  readonly rsyncPath: string;
  /** A directory of our own for as long as the checks run. */
  readonly scratch: string;
}
