/**
 * This process as the worker of its host, in the eyes of Redis: it registers, keeps the lease, says what it holds, and
 * hears when a newer process has taken the name.
 *
 * | mode            | what Redis knows                   | what this process does                  | goes on to |
 * |-----------------|------------------------------------|-----------------------------------------|------------|
 * | `registering`   | nothing, or an earlier process     | registers, again until it is answered   | `synchronising` |
 * | `synchronising` | the host, but not what it holds, so it sends no work | says what it holds, as soon as it has the lock of the name | `member` |
 * | `member`        | all                                | beats                                   | the mode that a beat is answered with: `synchronising` (Redis was restarted), `registering` (its data are lost) |
 * | `fenced`        | a newer process of this name       | nothing any more                        | – |
 * | `left`          | that the lease has ended           | nothing any more                        | – |
 *
 * `fenced` can follow every other mode, `left` every one but `fenced`.
 */
import { Heartbeat } from '../queues/heartbeat/heartbeat.ts';
import type { QueueResources } from '../queues/resources.ts';
import { isRefusal } from '../queues/semaphore/refusal.ts';
import type { BeatAnswer, Hold } from '../queues/semaphore/semaphore.ts';
import type { Amount } from '../src/jobs/amount.ts';
import type { DiskRoom } from './host-disk.ts';
import type { Logger } from '../src/observability/logger.ts';

type Mode = 'registering' | 'synchronising' | 'member' | 'fenced' | 'left';

export interface HostMembershipOptions {
  readonly queues: Pick<QueueResources, 'semaphore' | 'redisUrl' | 'keys'>;
  readonly host: string;
  /** Cpus and memory. */
  readonly capacity: Amount;
  readonly disk: Pick<DiskRoom, 'measure' | 'terms'>;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly logger: Logger;
  /** Whether the database has the host drained; at hand, since a registration must not wait for the database. */
  isDraining(): boolean;
  /** Whether no other process of this machine acts under the name: only then is it known what the host holds. */
  hasLock(): boolean;
  /** What this host holds. @throws while that is not known, or while it still ends what it has lost */
  holds(): Promise<Hold[]>;
  /** Redis holds something for this host that was not among `holds`. */
  onForeign(): Promise<void>;
  /** The host is a member, for the first time or again. */
  onMember(): void;
  /** A newer process has the name; called once. */
  onFenced(): void;
}

export class HostMembership {
  readonly #o: HostMembershipOptions;
  readonly #heartbeat: Heartbeat;
  #mode: Mode = 'registering';
  /** The last one; each is an object of its own, since Redis may give the same generation again. */
  #registration: { readonly generation: number } | null = null;

  constructor(options: HostMembershipOptions) {
    this.#o = options;
    this.#heartbeat = new Heartbeat({
      redisUrl: options.queues.redisUrl,
      prefix: options.queues.keys.prefix,
      host: options.host,
      everyMs: options.heartbeatMs,
      onAnswer: (answer) => this.#onBeat(answer),
      logger: options.logger,
    });
  }

  /** Under which Redis knows this process; null before the first registration. */
  get generation(): number | null {
    return this.#registration?.generation ?? null;
  }

  /** Does what the mode asks for; call it again and again. @throws what keeps it from that, SemaphoreRefusal fenced */
  async register(): Promise<void> {
    if (this.#mode === 'registering') await this.#register();
  }

  /** See {@link register}. */
  async synchronise(): Promise<void> {
    if (this.#mode === 'synchronising' && this.#o.hasLock()) await this.#synchronise();
  }

  /**
   * Tells Redis how much disk jobs may reserve here now.
   * @throws when Redis is away, SemaphoreRefusal fenced
   */
  async measure(): Promise<void> {
    if (this.#mode !== 'member' || this.#registration === null) return;
    const { queues, host, disk } = this.#o;
    await queues.semaphore.measured(host, this.#registration.generation, disk.measure());
  }

  /** Asks Redis now, and not with the next heartbeat, how the host stands. */
  beatNow(): void {
    this.#heartbeat.now();
  }

  /** The point of no return of a dispatch. @throws when Redis is away */
  async claim(jobId: string, epoch: number): Promise<'first' | 'again' | 'no_reservation' | 'fenced'> {
    const { queues, host } = this.#o;
    if (this.#registration === null) throw new Error('this host is not registered yet');
    try {
      return await queues.semaphore.claim(jobId, epoch, host, this.#registration.generation);
    } catch (error) {
      if (isRefusal(error, 'not_reserved')) return 'no_reservation';
      if (!isRefusal(error, 'fenced')) throw error;
      this.fence();
      return 'fenced';
    }
  }

  /**
   * Whether this process is still the one that may start containers of its host, by what Redis says now. While Redis
   * is away it is: another process of this machine would have had to take the lock.
   */
  async owns(): Promise<boolean> {
    if (this.#mode !== 'fenced' && this.#registration !== null) {
      const { queues, host } = this.#o;
      await queues.semaphore.beat(host, this.#registration.generation).catch((error: unknown) => {
        if (isRefusal(error, 'fenced')) this.fence();
      });
    }
    return !this.#isFenced();
  }

  /** A newer process has the name: this one acts no more. */
  fence(): void {
    if (this.#isFenced()) return;
    this.#mode = 'fenced';
    this.#o.logger.error({ host: this.#o.host }, 'a newer worker owns this host name');
    this.#o.onFenced();
  }

  /** Ends the lease, so that nothing more is sent to this host until its next worker has come. Never throws. */
  async leave(): Promise<void> {
    if (this.#isFenced()) return;
    this.#mode = 'left';
    if (this.#registration === null) return;
    // Without Redis, or when it has a newer generation, there is no lease of this worker to be ended.
    const { queues, host } = this.#o;
    await queues.semaphore.leave(host, this.#registration.generation).catch(() => undefined);
  }

  async stop(): Promise<void> {
    await this.#heartbeat.stop();
  }

  /** A method, because the mode changes while something is waited for. */
  #isFenced(): boolean {
    return this.#mode === 'fenced';
  }

  #onBeat(answer: BeatAnswer | 'fenced'): void {
    if (answer === 'fenced') return this.fence();
    if (answer === 'ok' || (this.#mode !== 'member' && this.#mode !== 'synchronising')) return;
    this.#mode = answer === 'register' ? 'registering' : 'synchronising';
    const work = this.register().then(() => this.synchronise());
    work.catch((error: unknown) => {
      if (isRefusal(error, 'fenced')) this.fence();
      else this.#o.logger.warn({ err: error }, 'the host is not ready for work yet; it tries again');
    });
  }

  /** Apart from {@link #synchronise}, which waits for Podman. */
  readonly #register = oneAtATime(async (): Promise<void> => {
    const { queues, host, leaseMs, disk } = this.#o;
    // What jobs hold of it is added when it is known which of them go on.
    const capacity = { ...this.#o.capacity, diskMib: Math.max(0, disk.measure().freeMib) };
    const generation = await queues.semaphore.register(host, capacity, leaseMs, this.generation, {
      draining: this.#o.isDraining(),
      pulls: true,
      disk: disk.terms,
    });
    this.#registration = { generation };
    if (this.#mode !== 'registering') return;
    this.#mode = 'synchronising';
    this.#heartbeat.begin(generation);
  });

  /** Says what this host holds; before that it gets no work. */
  readonly #synchronise = oneAtATime(async (): Promise<void> => {
    const { queues, host, capacity, logger } = this.#o;
    const registration = this.#registration;
    if (registration === null) return;
    const { generation } = registration;
    const foreign = await queues.semaphore.sync(host, generation, async () => {
      const holds = await this.#o.holds();
      // Redis has lost its data since, and with them what was released while the list was made.
      if (this.#registration !== registration) throw new Error('registered anew meanwhile');
      return holds;
    });
    if (this.#registration === registration && this.#mode === 'synchronising') this.#mode = 'member';
    await this.measure().catch(() => undefined); // or with the next round
    if (foreign.length > 0) await this.#o.onForeign();
    if (this.#mode !== 'member' && this.#mode !== 'synchronising') return;
    this.#o.onMember();
    logger.info({ host, generation, ...capacity }, 'the host is ready for work');
  });
}

/** A call while one is under way joins it. */
function oneAtATime(work: () => Promise<void>): () => Promise<void> {
  let going: Promise<void> | null = null;
  return () => (going ??= work().finally(() => (going = null)));
}
