import type { HostRegistry, Resources } from '../jobs/ports.ts';
import type { Database } from './database.ts';

interface HostRow {
  name: string;
  cpus_milli: number;
  memory_mib: number;
  registered_at: number;
}

/** Hosts that were ever registered; what a job's size is judged against when it is created. */
export class KnexHostStore implements HostRegistry {
  readonly #db: Database;
  /** A host is registered a few times a day and asked for with every job: looked up again after this long. */
  readonly #freshMs: number;
  #cached: { until: number; hosts: { name: string; capacity: Resources }[] } = { until: 0, hosts: [] };

  constructor(database: Database, freshMs = 1_000) {
    this.#db = database;
    this.#freshMs = freshMs;
  }

  async register(name: string, capacity: { cpusMilli: number; memoryMib: number }): Promise<void> {
    await this.#db.write((trx) =>
      trx<HostRow>('hosts')
        .insert({
          name,
          cpus_milli: capacity.cpusMilli,
          memory_mib: capacity.memoryMib,
          registered_at: Date.now(),
        })
        .onConflict('name')
        .merge(['cpus_milli', 'memory_mib', 'registered_at']),
    );
    this.#cached = { until: 0, hosts: [] };
  }

  async known(): Promise<readonly { name: string; capacity: Resources }[]> {
    if (performance.now() < this.#cached.until) return this.#cached.hosts;
    const rows = await this.#db.read((db) => db<HostRow>('hosts').orderBy('name'));
    const hosts = rows.map((row) => ({
      name: row.name,
      capacity: { cpus: Math.floor(row.cpus_milli / 1000), memoryGb: Math.floor(row.memory_mib / 1024) },
    }));
    this.#cached = { until: performance.now() + this.#freshMs, hosts };
    return hosts;
  }
}
