import type { Config, Origins } from '../../src/config.ts';
import type { Logger } from '../../src/observability/logger.ts';

/** How a role's process ends. A stop that was asked for and went well is 0. */
export const RoleExit = {
  fine: 0,
  /** It broke down, or its stop did. */
  failed: 1,
  /** Wrong settings: starting it again changes nothing. */
  misconfigured: 2,
  /** A newer worker owns the host's name: starting it again would only fight with that one. */
  replaced: 4,
} as const;
export type RoleExit = (typeof RoleExit)[keyof typeof RoleExit];

export interface RunningRole {
  /** Where it listens, if it does. */
  readonly url?: string;
  /** Resolves when it can't go on; what is left is to stop it. */
  readonly broken: Promise<{ readonly error: Error; readonly exit: RoleExit }>;
  /** Stops in order; runs every step even if one threw. May be called twice. */
  stop(): Promise<void>;
  /** Ends what `stop` waits for. The process exits right after it. */
  kill?(): void;
}

/**
 * @param origins where the settings come from; what has no entry is a default
 * @throws ConfigError for wrong settings. A start that failed leaves nothing running.
 */
export type StartRole = (config: Config, logger: Logger, origins: Origins) => Promise<RunningRole>;
