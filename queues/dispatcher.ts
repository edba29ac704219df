/**
 * Brings waiting jobs to hosts. Runs in every worker process; one of them leads at a time.
 *
 * One dispatch is: reserve → row `queued → starting` with host and a new epoch → out of intake and index → into the
 * host's queue. Every step is idempotent, and a crash between two of them is finished or taken back by the
 * {@link Sweeper}. The row's compare-and-set decides; Redis may be as stale as it likes. Taking the job out of intake
 * comes before the hand-over: in the other order 888 of 2,000 short jobs ran twice in a trial, because they were done
 * before they had left the queue.
 */
import { randomUUID } from 'node:crypto';
import { dispatchId } from '../src/ids.ts';
import { mibOf, milliOf } from '../src/jobs/amount.ts';
import type { EventJournal } from '../src/jobs/journal.ts';
import type { JobQueries } from '../src/jobs/queries.ts';
import { isWaiting } from '../src/jobs/states.ts';
import type { HostRegistry } from '../src/jobs/ports.ts';
import type { JobStore } from '../src/jobs/store.ts';
import type { Tenant } from '../src/tenants/tenant.ts';
import type { Entitlements, TenantRegistry } from '../src/tenants/tenants.ts';
import { renewAppendOnlyLog } from './append-only-log.ts';
import { once } from '../src/lifecycle/once.ts';
import type { Logger } from '../src/observability/logger.ts';
import {
  addHeld,
  choose,
  type Choice,
  type Fairness,
  type Held,
  type OpenHost,
  type Start,
  STUCK,
} from './choose.ts';
import { Pulls, type PullsOptions } from './images/pulls.ts';
import { stateOf } from './semaphore/farm-view.ts';
import { Leadership } from './leadership/leadership.ts';
import { Reconciler } from './reconciler.ts';
import type { QueueResources } from './resources.ts';
import { isRefusal } from './semaphore/refusal.ts';
import type { FarmView } from './semaphore/farm-view.ts';
import type { HoldLimits } from './semaphore/semaphore.ts';
import { Sweeper } from './sweeper.ts';
import { WaitingNotes } from './waiting/waiting-notes.ts';
import type { Candidate } from './waiting/waiting-index.ts';

export interface DispatcherOptions {
  readonly resources: QueueResources;
  readonly store: JobStore;
  readonly queries: JobQueries;
  readonly journal: Pick<EventJournal, 'bounds'>;
  readonly hosts: HostRegistry;
  readonly tenants: TenantRegistry;
  /** Name of the host in whose worker process this runs. */
  readonly host: string;
  readonly logger: Logger;
  /** A host that was silent for so long has lost its jobs, ms. */
  readonly hostLostMs: number;
  /** After Redis lost its data, hosts that the database knows have so long to come back before dispatch goes on, ms. */
  readonly leaseMs: number;
  /** Time between two reconciliations, ms. */
  readonly reconcileMs: number;
  /** A job that has waited so long is no longer delayed by later jobs of its owner, ms. Default 3,600,000. */
  readonly passingMs?: number;
  readonly tell?: PullsOptions['tell'];
}

/** Announcements wake the dispatcher at once; this is for those that were lost, and for what only time brings. */
const TICK_MS = 1_000;
/** Between two looks: a burst of 1,000 submissions a second is 200 looks, not 1,000. */
const PAUSE_MS = 4;
const AT_ONCE = 16;
/** Behind jobs that wait for what may never come, at once; the next second goes on from there. */
const LOOKS_FURTHER = 16;
const PASSING_MS = 3_600_000;

const ACTOR = 'dispatcher';

export class Dispatcher {
  readonly #o: DispatcherOptions;
  readonly #leadership: Leadership;
  readonly #sweeper: Sweeper;
  readonly #reconciler: Reconciler;
  readonly #notes: WaitingNotes;
  readonly #pulls: Pulls;
  #stopping = false;
  #woken = false;
  #wake: () => void = () => undefined;
  #unsubscribe: () => void = () => undefined;
  #loop: Promise<void> | undefined;
  /** When this dispatcher last started something of an owner; one that takes the lead over begins anew. */
  readonly #served = new Map<string, number>();
  #lastTick = -Infinity;
  #lastReconciliation = -Infinity;
  #failing = false;
  #leads = false;
  #verified = false;
  readonly #noteOutage = (): void => {
    this.#verified = false;
  };

  constructor(options: DispatcherOptions) {
    this.#o = options;
    const { resources } = options;
    this.#leadership = new Leadership(resources.connection, resources.keys.prefix, options.host);
    this.#sweeper = new Sweeper(options);
    this.#reconciler = new Reconciler(options);
    this.#notes = new WaitingNotes(options);
    this.#pulls = new Pulls(options);
  }

  start(): void {
    if (this.#loop || this.#stopping) return;
    this.#unsubscribe = this.#o.resources.announcements.subscribeWake((vacancy) => {
      // Others than the leader have nothing to do with room or work.
      if (this.#leads || vacancy) this.#wakeUp();
    });
    this.#o.resources.connection.on('close', this.#noteOutage);
    this.#loop = this.#run();
  }

  /** Finishes the dispatches it has begun, and gives the lead up. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping = true;
    this.#unsubscribe();
    this.#wakeUp();
    await this.#loop;
    await this.#notes.settled();
    this.#o.resources.connection.off('close', this.#noteOutage);
    await this.#leadership.resign().catch(() => undefined); // it expires by itself
  });

  async #run(): Promise<void> {
    while (!this.#stopping) {
      this.#woken = false;
      const outcome = await this.#look();
      await this.#sleep(PAUSE_MS, false);
      await this.#sleep(TICK_MS, outcome !== 'failed');
    }
  }

  async #look(): Promise<'done' | 'failed'> {
    if (this.#o.resources.connection.status !== 'ready') return 'failed';
    try {
      this.#leads = await this.#leadership.lead();
      if (this.#leads && (await this.#whole())) {
        await this.#tend();
        await this.#dispatchAll();
      }
      this.#failing = false;
      return 'done';
    } catch (error) {
      // Redis or the database is away. Nothing is concluded from that; the next tick tries again.
      if (!this.#failing) this.#o.logger.warn({ err: error }, 'dispatch is interrupted');
      this.#failing = true;
      return 'failed';
    }
  }

  /** Whether Redis has all it should have; asked anew after every loss of the connection. */
  async #whole(): Promise<boolean> {
    if (this.#verified) return true;
    this.#verified = true; // before the question: a connection that is lost meanwhile makes it false again
    const { connection, keys, semaphore } = this.#o.resources;
    let whole = false;
    try {
      whole = (await semaphore.verify()) || (await this.#reconciler.restore(() => this.#leadership.lead()));
    } finally {
      if (!whole) this.#verified = false;
    }
    if (whole) await renewAppendOnlyLog(connection, keys);
    else await this.#notes.noteRecovery(await semaphore.view());
    return this.#verified;
  }

  /** What is done by the clock. */
  async #tend(): Promise<void> {
    const now = performance.now();
    if (now - this.#lastTick < TICK_MS) return;
    this.#lastTick = now;
    const view = await this.#o.resources.semaphore.view();
    if (!view.whole) {
      this.#verified = false;
      return;
    }
    await this.#o.resources.waiting.setWeights((await this.#o.tenants.inForce()).weights);
    const thorough = now - this.#lastReconciliation >= this.#o.reconcileMs;
    await this.#sweeper.sweep(view, thorough);
    if (!thorough) return;
    this.#lastReconciliation = now;
    await this.#reconciler.reconcile();
    await renewAppendOnlyLog(this.#o.resources.connection, this.#o.resources.keys);
  }

  async #dispatchAll(): Promise<void> {
    const began = performance.now();
    for (let further = 0; ;) {
      const [view, candidates] = await Promise.all([
        this.#o.resources.semaphore.view(),
        this.#o.resources.waiting.candidates(),
      ]);
      if (!view.whole) this.#verified = false;
      if (!this.#verified || this.#stopping) return;
      const lacking = await this.#pulls.lacking(
        view.hosts.filter((host) => host.pulls && stateOf(host) === 'up'),
        candidates,
      );
      // Those in front have waited longest for the image that has come.
      if (this.#pulls.takeArrival() && this.#o.resources.waiting.lookFromFront()) continue;
      const hosts = openHosts(view, lacking, (host) => this.#pulls.failedOn(host));
      const entitlements = await this.#o.tenants.inForce();
      const fairness = {
        ...fairnessOf(view, entitlements),
        served: this.#served,
        patienceMs: this.#o.passingMs ?? PASSING_MS,
      };
      const chosen = choose(view.now, candidates, hosts, fairness);
      const choice = await this.#pulls.carryOut(chosen, lacking, candidates);
      if ((await this.#startAll(choice, candidates, entitlements)) > 0) {
        if (performance.now() - began < TICK_MS) continue;
        // The lead has to be renewed and the clock looked at, however much there is to start.
        this.#woken = true;
        return;
      }
      const goesOn = this.#o.resources.waiting.noteStuck(candidates, stuckIn(choice));
      this.#notes.note({ view, candidates, hosts, choice, fairness });
      further += 1;
      if (!goesOn || further >= LOOKS_FURTHER || performance.now() - began >= TICK_MS) return;
    }
  }

  async #startAll(
    choice: Choice,
    candidates: readonly Candidate[],
    entitlements: Entitlements,
  ): Promise<number> {
    const byId = new Map(candidates.map((candidate) => [candidate.jobId, candidate]));
    let started = 0;
    const queue = [...choice.starts];
    const lane = async (): Promise<void> => {
      for (let next = queue.shift(); next && !this.#stopping && this.#verified; next = queue.shift()) {
        const candidate = byId.get(next.jobId);
        if (candidate && (await this.#start(candidate, next, entitlements.of(candidate.owner)))) started += 1;
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: AT_ONCE }, lane));
    const failed = lanes.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    return started;
  }

  /** @returns whether the job is on its way to the host. An error in between leaves the rest to the sweeper. */
  async #start(candidate: Candidate, { host, endsBy }: Start, tenant: Tenant): Promise<boolean> {
    const { resources, logger } = this.#o;
    const { jobId, owner, cpusMilli, memoryMib } = candidate;
    const epoch = candidate.epoch + 1;
    const ticket = randomUUID();
    try {
      // guard: reserved-before-taken
      await resources.semaphore.reserve({
        jobId,
        epoch,
        host,
        owner,
        cpusMilli,
        memoryMib,
        endsBy,
        ticket,
        limits: holdLimits(tenant),
      });
    } catch (error) {
      if (isRefusal(error, 'already_reserved')) await this.#correct(candidate);
      if (isRefusal(error)) return false;
      throw error;
    }
    if (!(await this.#take(candidate, host, epoch))) {
      await resources.semaphore.revoke(jobId, epoch, ticket).catch((error: unknown) => {
        // Its host has claimed it, so the row is the host's: the answer to the compare-and-set was lost.
        if (!isRefusal(error, 'already_claimed')) throw error;
      });
      await this.#correct(candidate);
      return false;
    }
    // guard: withdrawn-before-handed-over
    await resources.queue.withdraw(jobId);
    await resources.queues.run(host).add('dispatch', { jobId, epoch }, { jobId: dispatchId(jobId, epoch) });
    resources.announcements.announce(jobId, host);
    this.#served.set(owner, Date.now());
    logger.debug({ job_id: jobId, epoch, host }, 'dispatched');
    return true;
  }

  /** The fence: of all dispatchers, one gets the row, and only while it waits. */
  async #take(candidate: Candidate, host: string, epoch: number): Promise<boolean> {
    const { store } = this.#o;
    const take = () =>
      store.transition(candidate.jobId, {
        from: ['queued'],
        to: 'starting',
        // guard: taken-under-epoch
        epoch: candidate.epoch,
        endingReason: null,
        patch: { host, epoch, startingAt: Date.now(), waitingReason: null },
        actor: ACTOR,
        payload: { host },
      });
    if (await take()) return true;
    // The queue holds it, so `queued` is true: whoever put it in was only slower to say so.
    const queued = await store.transition(candidate.jobId, {
      from: ['pending'],
      to: 'queued',
      endingReason: null,
      patch: { queuedAt: Date.now() },
      actor: ACTOR,
    });
    return queued !== null && (await take()) !== null;
  }

  /** The queue's entry is out of date: the job waits no more, or was dispatched and came back since. */
  async #correct(candidate: Candidate): Promise<void> {
    const { resources, queries } = this.#o;
    const row = await queries.get(candidate.jobId);
    if (!row || !isWaiting(row.status)) await resources.queue.withdraw(candidate.jobId);
    else if (row.epoch !== candidate.epoch) await resources.queue.enqueue(row);
  }

  #wakeUp(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Until the time is over, or something has happened if that is to end it. */
  #sleep(ms: number, untilWoken: boolean): Promise<void> {
    if (this.#stopping || (untilWoken && this.#woken)) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wake = () => {
        if (untilWoken || this.#stopping) done();
      };
    });
  }
}

const NO_IMAGES: ReadonlySet<string> = new Set();
type ImagesByHost = ReadonlyMap<string, ReadonlySet<string>>;

/** Jobs that wait for what other jobs' ends can't bring. */
const stuckIn = ({ waiting }: Choice): ReadonlySet<string> =>
  new Set(waiting.filter(({ why }) => STUCK.has(why)).map(({ jobId }) => jobId));

/** In the units of the semaphore. */
const holdLimits = ({ limits }: Tenant): HoldLimits => ({
  jobs: limits.runningJobs,
  cpusMilli: limits.cpus === null ? null : milliOf(limits.cpus),
  memoryMib: limits.memoryGb === null ? null : mibOf(limits.memoryGb),
});

/** What each owner holds, also on hosts that take no work, and may hold. */
function fairnessOf(view: FarmView, entitlements: Entitlements): Fairness {
  const held = new Map<string, Held>();
  for (const reservation of view.reservations) addHeld(held, reservation);
  return {
    held,
    terms: (owner) => {
      const tenant = entitlements.of(owner);
      const { jobs, cpusMilli, memoryMib } = holdLimits(tenant);
      return {
        weight: tenant.weight,
        maxJobs: jobs ?? Infinity,
        maxCpusMilli: cpusMilli ?? Infinity,
        maxMemoryMib: memoryMib ?? Infinity,
      };
    },
  };
}

/** Hosts that take work now, with what each of them holds. */
function openHosts(
  view: FarmView,
  lacking: ImagesByHost,
  failedOn: (host: string) => ReadonlySet<string>,
): OpenHost[] {
  return view.hosts
    .filter((host) => stateOf(host) === 'up')
    .map((host) => ({
      name: host.name,
      capacity: host.capacity,
      running: view.reservations.filter((reservation) => reservation.host === host.name),
      lacks: lacking.get(host.name) ?? NO_IMAGES,
      cannotGet: failedOn(host.name),
    }));
}
