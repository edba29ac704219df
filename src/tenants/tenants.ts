/** The owners of an installation and what each is entitled to: the settings' defaults, and what admins set. */
import { FlashpodsError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { Tenant, TenantLimits, TenantOverride, TenantStore } from './tenant.ts';

export interface TenantsResources {
  readonly store: TenantStore;
  readonly defaults: TenantLimits;
  readonly logger: Logger;
  /** How long a process goes on believing what it read, ms. Default 1,000. */
  readonly freshMs?: number;
}

/** What is in force, at one moment. */
export interface Entitlements {
  of(owner: string): Tenant;
  /** Owners whose weight is not 1. */
  readonly weights: ReadonlyMap<string, number>;
}

/** What scheduling and the job service need; see {@link Tenants}. */
export interface TenantRegistry {
  /** @throws FlashpodsError database_error */
  inForce(): Promise<Entitlements>;
}

const FRESH_MS = 1_000;

export const NO_LIMITS: TenantLimits = {
  runningJobs: null,
  cpus: null,
  memoryGb: null,
  queuedJobs: null,
  keptMb: null,
};

export class Tenants implements TenantRegistry {
  readonly #r: TenantsResources;
  #cached: { readonly until: number; readonly entitlements: Promise<Entitlements> } | undefined;

  constructor(resources: TenantsResources) {
    this.#r = resources;
  }

  inForce(): Promise<Entitlements> {
    const now = performance.now();
    if (this.#cached && now < this.#cached.until) return this.#cached.entitlements;
    const entitlements = this.#read();
    const cached = { until: now + (this.#r.freshMs ?? FRESH_MS), entitlements };
    this.#cached = cached;
    entitlements.catch(() => {
      if (this.#cached === cached) this.#cached = undefined;
    });
    return entitlements;
  }

  /** Those for whom something was set, by owner. */
  async overridden(): Promise<Tenant[]> {
    return (await this.#r.store.list()).map((override) => this.#resolve(override));
  }

  /** Replaces what was set; in force in this process at once, and in every other within `freshMs`. */
  async set(override: TenantOverride, by: string): Promise<Tenant> {
    await this.#r.store.set(override, by);
    this.#cached = undefined;
    this.#r.logger.info({ ...override, by }, 'the entitlement of an owner was set');
    return this.#resolve(override);
  }

  /** Back to the defaults. @throws FlashpodsError not_found when nothing was set */
  async unset(owner: string, by: string): Promise<void> {
    if (!(await this.#r.store.remove(owner)))
      throw new FlashpodsError('not_found', `Nothing is set for ${JSON.stringify(owner.slice(0, 64))}.`);
    this.#cached = undefined;
    this.#r.logger.info({ owner, by }, 'the entitlement of an owner was unset');
  }

  async #read(): Promise<Entitlements> {
    const tenants = new Map((await this.overridden()).map((tenant) => [tenant.owner, tenant]));
    const { defaults } = this.#r;
    return {
      of: (owner) => tenants.get(owner) ?? { owner, weight: 1, limits: defaults },
      weights: new Map(
        [...tenants.values()]
          .filter(({ weight }) => weight !== 1)
          .map(({ owner, weight }) => [owner, weight]),
      ),
    };
  }

  #resolve({ owner, weight, limits }: TenantOverride): Tenant {
    return { owner, weight, limits: { ...this.#r.defaults, ...limits } };
  }
}
