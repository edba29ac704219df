/** Health from cached probes: an answer takes at most {@link PROBE_DEADLINE_MS}, whatever hangs behind it. */
import { statfs } from 'node:fs/promises';
import type { Logger } from '../src/observability/logger.ts';

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

const PROBE_DEADLINE_MS = 800;
/** A result is used for so long: a crowd of health checks costs one probe. */
const FRESH_MS = 500;

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
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), PROBE_DEADLINE_MS);
    });
    const ok = await Promise.race([this.#running, late]);
    clearTimeout(timer);
    return ok;
  }

  async #probe(): Promise<boolean> {
    let ok = true;
    try {
      await this.#check.probe();
    } catch (error) {
      ok = false;
      if (this.#last?.ok !== false)
        this.#logger.warn({ err: error, check: this.#check.name }, 'a health check failed');
    }
    this.#last = { ok, at: performance.now() };
    this.#running = null;
    return ok;
  }
}

/** Fails when the file system of `directory` has less than `minFreeBytes` left. */
export const diskCheck = (directory: string, minFreeBytes = 512 * 1024 * 1024): HealthCheck => ({
  name: 'disk',
  matters: true,
  async probe() {
    const { bavail, bsize } = await statfs(directory);
    if (bavail * bsize < minFreeBytes)
      throw new Error(`only ${bavail * bsize} bytes are free in ${directory}`);
  },
});
