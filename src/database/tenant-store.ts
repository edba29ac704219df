import type { Knex } from 'knex';
import type { TenantLimits, TenantOverride, TenantStore } from '../tenants/tenant.ts';
import type { Database } from './database.ts';

interface TenantRow {
  owner: string;
  weight: number;
  max_running_jobs: number | null;
  max_cpus: number | null;
  max_memory_gb: number | null;
  max_queued_jobs: number | null;
  max_kept_mb: number | null;
  updated_at: number;
  updated_by: string;
}

const COLUMNS = {
  runningJobs: 'max_running_jobs',
  cpus: 'max_cpus',
  memoryGb: 'max_memory_gb',
  queuedJobs: 'max_queued_jobs',
  keptMb: 'max_kept_mb',
} as const satisfies Record<keyof TenantLimits, keyof TenantRow>;
const LIMITS = Object.keys(COLUMNS) as (keyof TenantLimits)[];
/** In the column of a limit. */
const UNLIMITED = -1;

/** {@link TenantStore} on knex. */
export class KnexTenantStore implements TenantStore {
  readonly #db: Database;

  constructor(database: Database) {
    this.#db = database;
  }

  async list(): Promise<TenantOverride[]> {
    const rows = await this.#db.read((db) => db<TenantRow>('tenants').orderBy('owner'));
    return rows.map(toOverride);
  }

  async set({ owner, weight, limits }: TenantOverride, by: string): Promise<void> {
    const row: TenantRow = {
      owner,
      weight,
      max_running_jobs: toColumn(limits.runningJobs),
      max_cpus: toColumn(limits.cpus),
      max_memory_gb: toColumn(limits.memoryGb),
      max_queued_jobs: toColumn(limits.queuedJobs),
      max_kept_mb: toColumn(limits.keptMb),
      updated_at: Date.now(),
      updated_by: by,
    };
    await this.#db.write((trx) => trx<TenantRow>('tenants').insert(row).onConflict('owner').merge());
  }

  async remove(owner: string): Promise<boolean> {
    const removed = await this.#db.write((trx) => trx<TenantRow>('tenants').where({ owner }).delete());
    return removed > 0;
  }
}

/** What an owner may keep, MB; null: no limit. @param usual where nothing is set for it */
export async function keptLimitOf(db: Knex, owner: string, usual: number | null): Promise<number | null> {
  const [row] = await db<TenantRow>('tenants').where({ owner }).select('max_kept_mb');
  const limit = row?.max_kept_mb ?? usual;
  return limit === UNLIMITED ? null : limit;
}

const toColumn = (limit: number | null | undefined): number | null =>
  limit === undefined ? null : (limit ?? UNLIMITED);

function toOverride(row: TenantRow): TenantOverride {
  const limits: { -readonly [name in keyof TenantLimits]?: number | null } = {};
  for (const name of LIMITS) {
    const value = row[COLUMNS[name]];
    if (value !== null) limits[name] = value === UNLIMITED ? null : value;
  }
  return { owner: row.owner, weight: row.weight, limits };
}
