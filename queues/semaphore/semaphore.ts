/**
 * Who holds which cpus, memory and disk, per host, in Redis. Reservations are keyed by job, belong to one dispatch (epoch)
 * and never expire: one that did while its container lives would be overcommit. Hosts have leases instead.
 * Every method is one atomic script, and safe to repeat when an answer was lost. Every method throws FlashpodsError
 * service_unavailable when Redis does not answer; then it may have been done or not.
 */
import type { Redis } from 'ioredis';
import type { Amount } from '../../src/jobs/amount.ts';
import { ask } from '../connection.ts';
import type { Keys } from '../keys.ts';
import { scriptsOf } from '../script.ts';
import { type FarmView, toFarmView } from './farm-view.ts';
import { REFUSALS, SemaphoreRefusal } from './refusal.ts';

const script = scriptsOf(import.meta.url);
const SCRIPTS = {
  register: script('register'),
  measured: script('measured'),
  expect: script('expect'),
  beat: script('beat'),
  drain: script('drain'),
  forget: script('forget'),
  leave: script('leave'),
  reserve: script('reserve'),
  claim: script('claim'),
  bound: script('bound'),
  settle: script('settle'),
  release: script('release'),
  revoke: script('revoke'),
  sync: script('sync'),
  lose: script('lose'),
  verify: script('verify'),
  found: script('found'),
  view: script('view'),
  audit: script('audit'),
};

/** Something a host really holds: a container in any phase, or a claimed dispatch whose start is under way. */
export interface Hold extends Amount {
  readonly jobId: string;
  readonly epoch: number;
  readonly owner: string;
  readonly endsBy: number | null;
}

/** What all reservations of an owner may add up to; null is no limit. */
export interface HoldLimits {
  readonly jobs: number | null;
  readonly cpusMilli: number | null;
  readonly memoryMib: number | null;
}

const NO_LIMITS: HoldLimits = { jobs: null, cpusMilli: null, memoryMib: null };

/** Of the disk of a host that bounds it. */
export interface HostDisk {
  /** What a job without a wish gets at most, MiB. */
  readonly mostMib: number;
  /** Names its file system: hosts of one machine may share one. */
  readonly place: string;
}

/** How a host's disk was found. */
export interface DiskMeasure {
  /** What is free, less the rest that nobody touches; negative where something has eaten of it. */
  readonly freeMib: number;
  /** What dispatches have written, their builds included. */
  readonly held: readonly { readonly jobId: string; readonly epoch: number; readonly mib: number }[];
}

/** A dispatch that a host answers for. */
export interface HostedDispatch extends Hold {
  /** False: nothing of it is there yet; if it was claimed, the claim stays. Default true. */
  readonly found?: boolean;
}

/** A host gets work: yes (`ok`), after `sync`, after `register` and `sync`. */
export type BeatAnswer = 'ok' | 'synchronise' | 'register';

/** For this time a synchronisation that began before a release is kept from entering the dispatch again. */
const RELEASE_REMEMBERED_SECONDS = 300;

const orEmpty = (value: number | null | undefined): number | string => value ?? '';

export class Semaphore {
  readonly #connection: Redis;
  readonly #keys: Keys;

  constructor(connection: Redis, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /**
   * Makes this process the owner of a host name.
   * @param generation what an earlier call returned, to register again after `beat` asked for it; null takes the name over
   * @param how.draining what the database says; used where Redis knows nothing
   * @param how.disk of a host whose capacity names disk
   * @param how.pulls whether the process gets images that dispatch wishes for
   * @returns the generation for all further calls
   * @throws SemaphoreRefusal fenced
   */
  register(
    host: string,
    capacity: Amount,
    leaseMs: number,
    generation: number | null,
    how: { readonly draining?: boolean; readonly pulls?: boolean; readonly disk?: HostDisk } = {},
  ): Promise<number> {
    return this.#run('register', host, [
      host,
      capacity.cpusMilli,
      capacity.memoryMib,
      leaseMs,
      orEmpty(generation),
      how.draining === true ? 1 : 0,
      how.pulls === true ? 1 : 0,
      orEmpty(capacity.diskMib),
      orEmpty(how.disk?.mostMib),
      how.disk?.place ?? '',
    ]);
  }

  /**
   * Renews what jobs may reserve of a host's disk: what is free, and what those hold of it that have a reservation. What
   * others left is only in the way.
   * @throws SemaphoreRefusal fenced, unknown_host
   */
  async measured(host: string, generation: number, { freeMib, held }: DiskMeasure): Promise<void> {
    const list = held.map(({ jobId, epoch, mib }) => ({ jobId, epoch: String(epoch), mib: String(mib) }));
    await this.#run('measured', host, [host, generation, freeMib, JSON.stringify(list)]);
  }

  /** Enters a host that the database knows and Redis does not, without a lease. */
  async expect(host: string, capacity: Amount, draining = false): Promise<boolean> {
    const args = [host, capacity.cpusMilli, capacity.memoryMib, draining ? 1 : 0];
    return (await this.#run('expect', host, args)) === 1;
  }

  /** Renews the lease. @throws SemaphoreRefusal fenced: a newer process owns the name; stop */
  async beat(host: string, generation: number): Promise<BeatAnswer> {
    try {
      return (await this.#run('beat', host, [host, generation])) === 1 ? 'ok' : 'synchronise';
    } catch (error) {
      if (error instanceof SemaphoreRefusal && error.reason === 'unknown_host') return 'register';
      throw error;
    }
  }

  /**
   * Ends the lease of a worker that stops: the host gets nothing more until it is registered again. What it holds stays.
   * @throws SemaphoreRefusal fenced, unknown_host
   */
  async leave(host: string, generation: number): Promise<void> {
    await this.#run('leave', host, [host, generation]);
  }

  /** @throws SemaphoreRefusal unknown_host, lease_live: its worker lives */
  async forget(host: string): Promise<void> {
    await this.#run('forget', host, [host]);
  }

  /** @throws SemaphoreRefusal unknown_host */
  async drain(host: string, draining: boolean): Promise<void> {
    await this.#run('drain', host, [host, draining ? 1 : 0]);
  }

  /**
   * Reserves for one dispatch of a job that waits. Here, and nowhere else, an owner's limits hold, however many
   * dispatchers there are.
   * @throws SemaphoreRefusal data_lost, unknown_host, lease_ended, draining, not_synchronised, not_waiting,
   * already_reserved, no_room, over_limit
   */
  async reserve(
    request: Hold & {
      readonly host: string;
      readonly ticket: string;
      readonly limits?: HoldLimits;
      readonly isNew?: boolean;
    },
  ): Promise<void> {
    const { jobId, epoch, host, owner, cpusMilli, memoryMib, diskMib = 0 } = request;
    const { endsBy, ticket, limits = NO_LIMITS, isNew = false } = request;
    await this.#run('reserve', jobId, [
      jobId,
      epoch,
      host,
      cpusMilli,
      memoryMib,
      orEmpty(endsBy),
      ticket,
      owner,
      orEmpty(limits.jobs),
      orEmpty(limits.cpusMilli),
      orEmpty(limits.memoryMib),
      diskMib,
      isNew ? 1 : 0,
    ]);
  }

  /**
   * The point of no return: afterwards nobody takes the dispatch away from this host.
   * @returns `again` when it was claimed before, by this or an earlier process of the host: look before you start
   * @throws SemaphoreRefusal fenced, unknown_host, not_reserved
   */
  async claim(jobId: string, epoch: number, host: string, generation: number): Promise<'first' | 'again'> {
    return (await this.#run('claim', jobId, [jobId, epoch, host, generation])) === 1 ? 'first' : 'again';
  }

  /** Tells dispatch more exactly when the job will have ended, at the latest. */
  async bound(jobId: string, epoch: number, endsBy: number): Promise<void> {
    await this.#run('bound', jobId, [jobId, epoch, endsBy]);
  }

  /**
   * Call when the container is gone, and {@link release} when what it left is stored: cpus and memory are free now, its
   * disk is not. @returns whether anything was held
   */
  async settle(jobId: string, epoch: number): Promise<boolean> {
    return (await this.#run('settle', jobId, [jobId, epoch, RELEASE_REMEMBERED_SECONDS])) === 1;
  }

  /** Call when nothing of it takes anything any more. @returns whether anything was held */
  async release(jobId: string, epoch: number): Promise<boolean> {
    return (await this.#run('release', jobId, [jobId, epoch, RELEASE_REMEMBERED_SECONDS])) === 1;
  }

  /**
   * Takes back what nobody has claimed.
   * @param ticket the very reservation that is meant; left out: whichever this dispatch has
   * @returns whether there was one @throws SemaphoreRefusal already_claimed
   */
  async revoke(jobId: string, epoch: number, ticket = ''): Promise<boolean> {
    return (await this.#run('revoke', jobId, [jobId, epoch, ticket])) === 1;
  }

  /**
   * Enters what the host really holds and makes it ready for work. `list` is called once; it must return every
   * dispatch of the host whose row is `starting` or `running` under that epoch: `found` where it has a container or
   * is about to have one, not where nothing of it is there. Kill what is not the host's own before. Claims and releases may go on meanwhile.
   * @returns job ids that a newer dispatch holds: kill them @throws SemaphoreRefusal fenced, unknown_host
   */
  async sync(
    host: string,
    generation: number,
    list: () => Promise<readonly HostedDispatch[]>,
  ): Promise<string[]> {
    const time = await ask(this.#connection, 'time', () => this.#connection.time());
    const [seconds, micros] = time.map(Number);
    const takenAt = (seconds ?? 0) * 1_000 + Math.floor((micros ?? 0) / 1_000);
    const holds = (await list()).map((hold) => ({
      jobId: hold.jobId,
      epoch: String(hold.epoch),
      owner: hold.owner,
      cpus: String(hold.cpusMilli),
      memory: String(hold.memoryMib),
      disk: String(hold.diskMib ?? 0),
      endsBy: String(orEmpty(hold.endsBy)),
      found: hold.found === false ? '0' : '1',
    }));
    const result = await this.#call('sync', [host, generation, takenAt, JSON.stringify(holds)]);
    return Array.isArray(result) ? (result as string[]) : refuse('sync', host, result);
  }

  /** Gives up a host that was silent for longer than that. @returns false when it was not @throws SemaphoreRefusal unknown_host */
  async lose(host: string, silentMs: number): Promise<boolean> {
    return (await this.#run('lose', host, [host, silentMs])) === 1;
  }

  /**
   * Looks whether this Redis still has what was written to it. One that was restarted may have lost its last second
   * and done half of a script; then every host has to synchronise again, and the sums are counted anew.
   * @returns false when the data were lost: dispatch has to wait for {@link found}
   */
  async verify(): Promise<boolean> {
    return (await this.#run('verify', 'Redis', [await this.#runId()])) === 1;
  }

  /** Marks the begin of a restoration. */
  async restoring(token: string): Promise<void> {
    await ask(this.#connection, 'restoring', () =>
      this.#connection.hset(this.#keys.server, 'restoring', token),
    );
  }

  /** Declares that everything is in Redis again. @returns false when the data were lost again since {@link restoring} */
  async found(token: string): Promise<boolean> {
    return (await this.#run('found', 'Redis', [token, await this.#runId()])) === 1;
  }

  /** What the reservations of each owner add up to. */
  async heldByOwner(): Promise<Map<string, Amount & { readonly jobs: number }>> {
    const [jobs, cpus, memory] = await ask(this.#connection, 'held', () =>
      Promise.all([
        this.#connection.hgetall(this.#keys.heldJobs),
        this.#connection.hgetall(this.#keys.heldCpus),
        this.#connection.hgetall(this.#keys.heldMemory),
      ]),
    );
    return new Map(
      Object.entries(jobs).map(([owner, count]) => [
        owner,
        { jobs: Number(count), cpusMilli: Number(cpus[owner] ?? 0), memoryMib: Number(memory[owner] ?? 0) },
      ]),
    );
  }

  /** All hosts and reservations at one moment. */
  async view(): Promise<FarmView> {
    return toFarmView(await this.#call('view', []));
  }

  /** @returns sentences, one for each counter that differs from what the reservations add up to */
  async audit(): Promise<string[]> {
    return (await this.#call('audit', [])) as string[];
  }

  async #runId(): Promise<string> {
    const info = await ask(this.#connection, 'info', () => this.#connection.info('server'));
    const runId = /^run_id:(\w+)/m.exec(info)?.[1];
    if (runId === undefined) throw new Error('INFO of Redis names no run_id');
    return runId;
  }

  async #run(operation: keyof typeof SCRIPTS, subject: string, args: (string | number)[]): Promise<number> {
    const result = Number(await this.#call(operation, args));
    return result < 0 ? refuse(operation, subject, result) : result;
  }

  #call(operation: keyof typeof SCRIPTS, args: (string | number)[]): Promise<unknown> {
    return ask(this.#connection, operation, () =>
      SCRIPTS[operation].run(this.#connection, [this.#keys.prefix], args),
    );
  }
}

function refuse(operation: string, subject: string, code: unknown): never {
  const reason = (REFUSALS as Record<string, (typeof REFUSALS)[keyof typeof REFUSALS]>)[String(code)];
  if (!reason) throw new Error(`${operation} of ${subject} returned ${String(code)}`);
  throw new SemaphoreRefusal(operation, reason, subject);
}
