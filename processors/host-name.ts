/** A host's name belongs to one process of its machine: its row, and the lock that goes with the process. */
import { join } from 'node:path';
import { type Config, ConfigError } from '../src/config.ts';
import { CapacityConflict, type KnexHostStore } from '../src/database/host-store.ts';
import { type Lock, LockHeld, wrestLock } from '../src/files/lock.ts';
import type { Amount } from '../src/jobs/amount.ts';
import type { Logger } from '../src/observability/logger.ts';

/** A process that was told to let go of the name needs some milliseconds for it, unless it hangs. */
const LET_GO_MS = 5_000;

/** Enters the host into the database. @throws ConfigError when another host of this machine offers the same capacity */
export async function enterHostName(hosts: KnexHostStore, config: Config, capacity: Amount): Promise<void> {
  const { hostName, cpus, memoryGb } = config;
  const explicit = cpus !== undefined && memoryGb !== undefined;
  try {
    await hosts.registerWorker(hostName, capacity, explicit);
  } catch (cause) {
    if (!(cause instanceof CapacityConflict)) throw cause;
    throw new ConfigError(
      `the host ${cause.other} runs on this machine already, and two hosts may not offer the same cpus and memory\n  Say which part each of them has with FLASHPODS_CPUS and FLASHPODS_MEMORY_GB, for ${cause.other} and for ${hostName}, or end ${cause.other}.`,
      { cause },
    );
  }
}

/** Waits for the process that has the name, and ends it if it hangs. @throws ConfigError when it can't be ended */
export async function lockHostName(
  { dataDir, hostName }: Config,
  logger: Logger,
  signal: AbortSignal,
): Promise<Lock> {
  try {
    return await wrestLock(join(dataDir, 'hosts', hostName, 'holder'), {
      patienceMs: LET_GO_MS,
      logger,
      signal,
    });
  } catch (cause) {
    if (!(cause instanceof LockHeld)) throw cause;
    throw new ConfigError(`the host name ${hostName} is in use: ${cause.message}; end that one first`, {
      cause,
    });
  }
}
