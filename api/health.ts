/**
 * Health from cached probes. An answer takes at most {@link PROBE_DEADLINE_MS}, even if a probe hangs, and
 * with the age of what it may be made from it is never older than a second.
 */
import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import type { Logger } from '../src/observability/logger.ts';
import { within } from '../src/timing/within.ts';

export interface HealthCheck {
  readonly name: 'database' | 'redis' | 'podman' | 'disk';
  /** Whether the service is `unhealthy` (503) without it, or only `degraded`. */
  readonly matters: boolean;
  /** Throws when what it looks at is away. May hang: it is given up at the deadline and its result is used when it comes. */
  probe(): Promise<unknown>;
}

export interface HealthReport {
  readonly status: 'healthy' | 'degraded' | 'unhealthy';
  readonly checks: Readonly<Record<string, 'ok' | 'down'>>;
}

const PROBE_DEADLINE_MS = 600;
/** A result is used for this time: many health checks cost one probe. */
const FRESH_MS = 200;

export class Health {
  readonly #probes: readonly { readonly check: HealthCheck; readonly cached: CachedProbe }[];

  constructor(checks: readonly HealthCheck[], logger: Logger) {
    this.#probes = checks.map((check) => ({ check, cached: new CachedProbe(check, logger) }));
  }

  async report(): Promise<HealthReport> {
    const results = await Promise.all(
      this.#probes.map(async ({ check, cached }) => ({ check, ok: await cached.result() })),
    );
    const down = results.filter(({ ok }) => !ok);
    return {
      status:
        down.length === 0 ? 'healthy' : down.some(({ check }) => check.matters) ? 'unhealthy' : 'degraded',
      checks: Object.fromEntries(results.map(({ check, ok }) => [check.name, ok ? 'ok' : 'down'])),
    };
  }
}

class CachedProbe {
  readonly #check: HealthCheck;
  readonly #logger: Logger;
  #last: { readonly ok: boolean; readonly at: number } | null = null;
  #running: Promise<boolean> | null = null;

  constructor(check: HealthCheck, logger: Logger) {
    this.#check = check;
    this.#logger = logger;
  }

  async result(): Promise<boolean> {
    if (this.#last && performance.now() - this.#last.at < FRESH_MS) return this.#last.ok;
    this.#running ??= this.#probe();
    const outcome = await within(this.#running, PROBE_DEADLINE_MS, 'late' as const);
    if (outcome !== 'late') return outcome;
    this.#note(false, new Error(`no answer within ${PROBE_DEADLINE_MS} ms`));
    return false;
  }

  async #probe(): Promise<boolean> {
    let ok = true;
    try {
      await this.#check.probe();
      this.#note(true);
    } catch (error) {
      ok = false;
      this.#note(false, error);
    }
    this.#running = null;
    return ok;
  }

  /** One line in the log when it changes, not one for every look. */
  #note(ok: boolean, error?: unknown): void {
    const check = this.#check.name;
    if (!ok && this.#last?.ok !== false) this.#logger.warn({ err: error, check }, 'a health check failed');
    if (ok && this.#last?.ok === false) this.#logger.info({ check }, 'a health check succeeds again');
    this.#last = { ok, at: performance.now() };
  }
}

/** Fails when one of the directories can't be written, or its file system has less than `minFreeBytes` left. */
export const diskCheck = (directories: readonly string[], minFreeBytes: number): HealthCheck => ({
  name: 'disk',
  matters: true,
  async probe() {
    for (const directory of directories) {
      await access(directory, constants.W_OK);
      const { bavail, bsize } = await statfs(directory);
      if (bavail * bsize < minFreeBytes)
        throw new Error(`only ${bavail * bsize} bytes are free in ${directory}`);
    }
  },
});
