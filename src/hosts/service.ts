/** What a caller with `admin` can do with hosts: let them run empty, take work again, and be forgotten. */
import { FlashpodsError } from '../errors.ts';
import type { Job } from '../jobs/job.ts';
import type { HostControl, HostRegistry, HostState, JobQueue, KnownHost } from '../jobs/ports.ts';
import type { JobQueries } from '../jobs/queries.ts';
import type { Logger } from '../observability/logger.ts';

export interface HostView {
  readonly name: string;
  /** Takes nothing new until somebody says otherwise; kept over restarts of its worker and of Redis. */
  readonly draining: boolean;
  /** Null while Redis is away, or before the host has registered there. */
  readonly state: HostState | null;
  /** Those that it answers for, in the order in which they were created. */
  readonly jobs: readonly Job[];
  /** Nothing runs there and nothing is on its way there. */
  readonly empty: boolean;
}

export interface HostServiceResources {
  readonly hosts: HostRegistry;
  readonly queries: Pick<JobQueries, 'hostedOn'>;
  readonly control: HostControl;
  readonly queue: Pick<JobQueue, 'capacity'>;
  readonly logger: Logger;
}

export class HostService {
  readonly #r: HostServiceResources;

  constructor(resources: HostServiceResources) {
    this.#r = resources;
  }

  /** @throws FlashpodsError host_not_found */
  async get(name: string): Promise<HostView> {
    const host = await this.#r.hosts.get(name);
    return host ? this.#view(host) : this.#unknown(name);
  }

  /**
   * The host takes nothing new; what runs there goes on. Holds from the moment when Redis knows it: while Redis is
   * away nothing starts, and a reconciliation tells it afterwards. @throws FlashpodsError host_not_found
   */
  async drain(name: string): Promise<HostView> {
    if (!(await this.#r.hosts.setDraining(name, true))) return this.#unknown(name);
    await this.#r.control.drainHost(name, true).catch((error: unknown) => {
      this.#r.logger.warn({ err: error, host: name }, 'Redis is told later that the host is drained');
    });
    return this.get(name);
  }

  /** @throws FlashpodsError host_not_found, service_unavailable when Redis is away: repeat it then */
  async undrain(name: string): Promise<HostView> {
    if (!(await this.#r.hosts.setDraining(name, false))) return this.#unknown(name);
    await this.#r.control.drainHost(name, false);
    return this.get(name);
  }

  /**
   * Forgets a host that will not come back. A worker that registers under its name makes it known again.
   * @throws FlashpodsError host_not_found, host_in_use while its worker lives or jobs are not known to be over,
   *   service_unavailable when Redis is away
   */
  async remove(name: string): Promise<void> {
    const { jobs } = await this.get(name);
    if (jobs.length > 0)
      throw new FlashpodsError(
        'host_in_use',
        `${name} still answers for ${jobs.length === 1 ? '1 job' : `${jobs.length} jobs`}; they end, or are lost with it when it has been silent for long enough.`,
        { details: { jobs: jobs.map(({ id }) => id) } },
      );
    if (!(await this.#r.control.forgetHost(name)))
      throw new FlashpodsError('host_in_use', `The worker of ${name} lives; end it first.`);
    await this.#r.hosts.remove(name);
  }

  async #view({ name, draining }: KnownHost): Promise<HostView> {
    const [jobs, report] = await Promise.all([
      this.#r.queries.hostedOn(name),
      this.#r.queue.capacity().catch(() => null),
    ]);
    const live = report?.hosts.find((host) => host.name === name);
    return {
      name,
      draining,
      state: live?.state ?? null,
      jobs,
      empty: jobs.length === 0 && (live?.runningJobs ?? 0) === 0,
    };
  }

  async #unknown(name: string): Promise<never> {
    const known = (await this.#r.hosts.known()).map((host) => host.name);
    const which = known.length === 0 ? 'None is registered yet.' : `Known are ${known.join(', ')}.`;
    throw new FlashpodsError(
      'host_not_found',
      `There is no host ${JSON.stringify(name.slice(0, 64))}. ${which}`,
      { details: { hosts: known } },
    );
  }
}
