import type { Amount } from '../jobs/amount.ts';
import type { HostRegistry, KnownHost } from '../jobs/ports.ts';
import { identifySelf, isAlive, ownPidSpace } from '../lifecycle/process-identity.ts';
import type { Database } from './database.ts';

interface HostRow {
  name: string;
  cpus_milli: number;
  memory_mib: number;
  disk_mib: number | null;
  registered_at: number;
  draining: number;
  explicit_capacity: number;
  worker_place: string | null;
  worker_pid: number | null;
  worker_start_time: string | null;
}

/** Another host of this machine has a live worker, and not both were told which part of the machine is theirs. */
export class CapacityConflict extends Error {
  override readonly name = 'CapacityConflict';
  readonly other: string;

  constructor(other: string) {
    super(`the host ${other} of this machine may offer the same cpus and memory`);
    this.other = other;
  }
}

/** Hosts that were ever registered and not removed; what a job's size is judged against when it is created. */
export class KnexHostStore implements HostRegistry {
  readonly #db: Database;
  /** A host is registered a few times a day and asked for with every job: looked up again after this long. */
  readonly #freshMs: number;
  #cached: { until: number; hosts: readonly KnownHost[] } = { until: 0, hosts: [] };

  constructor(database: Database, freshMs = 1_000) {
    this.#db = database;
    this.#freshMs = freshMs;
  }

  /** Enters the host, or what has changed of it. */
  async register(name: string, capacity: Amount): Promise<void> {
    await this.#db.write((trx) =>
      trx<HostRow>('hosts')
        .insert(rowOf(name, capacity))
        .onConflict('name')
        .merge(['cpus_milli', 'memory_mib', 'disk_mib', 'registered_at']),
    );
    this.#forget();
  }

  /**
   * The same for this process as the worker of the host.
   * @param explicit whether the capacity was configured, or is all that the machine has
   * @throws CapacityConflict when another host of this machine has a live worker, unless both were configured. Then
   *   nothing is entered. Workers whose processes can't be seen from here (another pid namespace) are not looked at.
   */
  async registerWorker(name: string, capacity: Amount, explicit: boolean): Promise<void> {
    const self = identifySelf();
    const place = ownPidSpace();
    await this.#db.write(async (trx) => {
      const row = {
        ...rowOf(name, capacity),
        explicit_capacity: explicit ? 1 : 0,
        worker_place: place,
        worker_pid: process.pid,
        worker_start_time: self.startTicks,
      };
      await trx<HostRow>('hosts').insert(row).onConflict('name').merge(row);
      const beside = await trx<HostRow>('hosts').where({ worker_place: place }).whereNot({ name });
      const other = beside.find((each) => !(explicit && each.explicit_capacity) && workerLives(each));
      if (other) throw new CapacityConflict(other.name);
    });
    this.#forget();
  }

  async known(): Promise<readonly KnownHost[]> {
    if (performance.now() < this.#cached.until) return this.#cached.hosts;
    const hosts = (await this.#db.read((db) => db<HostRow>('hosts').orderBy('name'))).map(toHost);
    this.#cached = { until: performance.now() + this.#freshMs, hosts };
    return hosts;
  }

  async get(name: string): Promise<KnownHost | null> {
    const [row] = await this.#db.read((db) => db<HostRow>('hosts').where({ name }));
    return row ? toHost(row) : null;
  }

  async setDraining(name: string, draining: boolean): Promise<boolean> {
    const changed = await this.#db.write((trx) =>
      trx<HostRow>('hosts')
        .where({ name })
        .update({ draining: draining ? 1 : 0 }),
    );
    this.#forget();
    return changed > 0;
  }

  async remove(name: string): Promise<boolean> {
    const removed = await this.#db.write((trx) => trx<HostRow>('hosts').where({ name }).delete());
    this.#forget();
    return removed > 0;
  }

  #forget(): void {
    this.#cached = { until: 0, hosts: [] };
  }
}

const rowOf = (
  name: string,
  capacity: Amount,
): Pick<HostRow, 'name' | 'cpus_milli' | 'memory_mib' | 'disk_mib' | 'registered_at'> => ({
  name,
  cpus_milli: capacity.cpusMilli,
  memory_mib: capacity.memoryMib,
  disk_mib: capacity.diskMib ?? null,
  registered_at: Date.now(),
});

const toHost = (row: HostRow): KnownHost => ({
  name: row.name,
  capacity: {
    cpusMilli: row.cpus_milli,
    memoryMib: row.memory_mib,
    ...(row.disk_mib === null ? {} : { diskMib: row.disk_mib }),
  },
  draining: row.draining === 1,
});

const workerLives = ({ worker_pid: pid, worker_start_time: startTicks }: HostRow): boolean =>
  pid !== null && pid !== process.pid && startTicks !== null && isAlive({ pid, startTicks });
